// The least operating system that runs one static Linux program: loads it, gives it memory, prints
// what it writes, and turns the PC off. Its file is the first module of the boot loader.
typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned short u16;

static void out(u16 port, char value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static void print(const char* text, u64 length) {
  for (u64 i = 0; i < length; ++i) out(0xe9, text[i]);  // Bochs prints what goes to this port
}

static void turn_off(void) {
  for (const char* c = "Shutdown"; *c; ++c) out(0x8900, *c);
  for (;;) __asm__ volatile("hlt");
}

void* memcpy(void* to, const void* from, u64 bytes) {
  for (u64 i = 0; i < bytes; ++i) ((char*)to)[i] = ((const char*)from)[i];
  return to;
}
void* memset(void* to, int value, u64 bytes) {
  for (u64 i = 0; i < bytes; ++i) ((char*)to)[i] = (char)value;
  return to;
}

// The program is linked to 64 MiB; memory for it from 96 MiB on is handed out and never taken back.
static u64 heap = 96 << 20, heap_end = 160 << 20;     // brk
static u64 pages = 160 << 20, pages_end = 992 << 20;  // mmap

static u64 hand_out(u64 bytes) {
  const u64 at = pages;
  pages += (bytes + 4095) & ~4095ul;
  if (pages > pages_end) return (u64)-12;  // ENOMEM
  memset((void*)at, 0, pages - at);
  return at;
}

struct Call {
  u64 number, rbx, r9, r8, r10, rdx, rsi, rdi;
};

static u64 result_of(const struct Call* c) {
  switch (c->number) {
    case 1:  // write
      print((const char*)c->rsi, c->rdx);
      return c->rdx;
    case 20: {  // writev
      u64 total = 0;
      for (u64 i = 0; i < c->rdx; ++i) {
        const u64* piece = (const u64*)c->rsi + 2 * i;
        print((const char*)piece[0], piece[1]);
        total += piece[1];
      }
      return total;
    }
    case 9:
      return hand_out(c->rsi);  // mmap
    case 12:                    // brk
      if (c->rdi >= (96 << 20) && c->rdi < heap_end) heap = c->rdi;
      return heap;
    case 158: {  // arch_prctl: the segment base of thread-local storage
      if (c->rdi != 0x1002) return (u64)-22;
      __asm__ volatile("wrmsr" : : "c"(0xC0000100), "a"((u32)c->rsi), "d"((u32)(c->rsi >> 32)));
      return 0;
    }
    case 204:  // sched_getaffinity: one CPU
      *(u64*)c->rdx = 1;
      return 8;
    case 318:  // getrandom
      memset((void*)c->rdi, 4, c->rsi);
      return c->rsi;
    case 39:
    case 186:
    case 218:
      return 1;  // getpid, gettid, set_tid_address
    case 10:
    case 11:
    case 13:
    case 14:
    case 28:
    case 202:
      return 0;  // mprotect, munmap, signals, madvise, futex
    case 60:
    case 231:  // exit, exit_group
      print(c->rdi ? "ended: failure\n" : "ended: success\n", 15);
      turn_off();
  }
  return (u64)-38;  // ENOSYS
}

// The registers lie as system_call pushed them; the result returns in rax.
u64 serve(struct Call* c) { return result_of(c); }

struct Entry {
  u64 address, stack;
};

// Loads the program (ELF, not relocatable) and builds its first stack.
struct Entry start(const u32* loader) {
  const char* file = (const char*)(u64)((const u32*)(u64)loader[6])[0];
  const u64 table = *(const u64*)(file + 32);
  const u16 count = *(const u16*)(file + 56);
  u64 table_in_memory = 0;
  for (u16 i = 0; i < count; ++i) {
    const char* h = file + table + 56 * i;
    const u64 offset = *(const u64*)(h + 8), address = *(const u64*)(h + 16);
    const u64 in_file = *(const u64*)(h + 32), in_memory = *(const u64*)(h + 40);
    if (*(const u32*)h != 1) continue;
    if (offset == 0) table_in_memory = address + table;
    memcpy((void*)address, file + offset, in_file);
    memset((void*)(address + in_file), 0, in_memory - in_file);
  }
  u64* stack = (u64*)(hand_out(8 << 20) + (8 << 20) - 4096);
  static char name[] = "program", random[16] = "0123456789abcde";
  const u64 content[] = {1,  (u64)name,   0,  0,     3, table_in_memory,
                         4,  56,          5,  count, 6, 4096,
                         25, (u64)random, 23, 0,     0, 0};
  memcpy(stack, content, sizeof(content));
  print("program starts\n", 15);
  return (struct Entry){*(const u64*)(file + 24), (u64)stack};
}
