// A plugin for qemu-user: how many instructions the guest executed, and in which blocks.
//
//   cc -shared -fPIC -O2 -o count_instructions.so count_instructions.c
//   qemu-aarch64 -plugin ./count_instructions.so,out=counts.txt,blocks=20 program
//
// Each translated block adds its length to a counter of its own, inline, so that counts are exact and repeat. The guest marks
// parts of its run: getpriority(0, MARK) fails, and tells this plugin that a part ends. All that it executed before its first
// mark is forgotten then. The first line of the file is the total, the second one that of each part from mark to mark; then
// come the blocks that executed most instructions, with their disassembly. Two translations of one block (after a page was
// remapped, say) share a counter.
//
// Written against plugin interface 1 (qemu 4.2 to 8.x), declared here because distributions ship no header.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t PluginId;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
enum { ADD_U64 = 0 };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb*);
extern struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
extern char* qemu_plugin_insn_disas(const struct qemu_plugin_insn*);
extern void qemu_plugin_register_vcpu_tb_trans_cb(PluginId, void (*)(PluginId, struct qemu_plugin_tb*));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb*, int op, void* counter, uint64_t value);
typedef void OnSyscall(PluginId, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5,
                       uint64_t a6, uint64_t a7, uint64_t a8);
extern void qemu_plugin_register_vcpu_syscall_cb(PluginId, OnSyscall*);
extern void qemu_plugin_register_atexit_cb(PluginId, void (*)(PluginId, void*), void*);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { BUCKETS = 1 << 16, MOST_TEXT = 160, MOST_PARTS = 1000 };
enum { GETPRIORITY = 141, MARK = 0x6d61726b };  // on aarch64; infer.py knows the mark too

struct block {
  uint64_t address, instructions, length;
  char* text;
  struct block* next;
};

static struct block* buckets[BUCKETS];
static size_t shown;  // blocks to list
static FILE* output;
static uint64_t parts[MOST_PARTS], before;  // instructions of each part, and of all that have ended
static size_t marks;

static char* disassemble(const struct qemu_plugin_tb* tb, size_t length) {
  char* text = calloc(length, MOST_TEXT);
  size_t end = 0;
  for (size_t i = 0; text && i < length; ++i) {
    char* one = qemu_plugin_insn_disas(qemu_plugin_tb_get_insn(tb, i));
    end += (size_t)snprintf(text + end, MOST_TEXT, "    %.150s\n", one ? one : "?");
    free(one);
  }
  return text;
}

static void on_translation(PluginId id, struct qemu_plugin_tb* tb) {
  (void)id;
  const uint64_t address = qemu_plugin_tb_vaddr(tb), length = qemu_plugin_tb_n_insns(tb);
  struct block** slot = &buckets[(address >> 2 ^ length << 9) % BUCKETS];
  struct block* b = *slot;
  while (b && (b->address != address || b->length != length)) b = b->next;
  if (!b) {
    b = calloc(1, sizeof(*b));
    if (!b) abort();
    b->address = address;
    b->length = length;
    b->next = *slot;
    if (shown) b->text = disassemble(tb, length);
    *slot = b;
  }
  qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &b->instructions, length);
}

static uint64_t sum(size_t* count) {
  uint64_t total = 0;
  for (size_t i = 0; i < BUCKETS; ++i) {
    for (struct block* b = buckets[i]; b; b = b->next) ++*count, total += b->instructions;
  }
  return total;
}

static void forget(void) {
  for (size_t i = 0; i < BUCKETS; ++i) {
    for (struct block* b = buckets[i]; b; b = b->next) b->instructions = 0;
  }
}

static void on_syscall(PluginId id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                       uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)vcpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number != GETPRIORITY || a1 != 0 || a2 != MARK || marks > MOST_PARTS) return;
  size_t count = 0;
  if (marks++ == 0) return forget();
  const uint64_t now = sum(&count);
  parts[marks - 2] = now - before;
  before = now;
}

static int by_instructions(const void* a, const void* b) {
  const uint64_t x = (*(struct block* const*)a)->instructions, y = (*(struct block* const*)b)->instructions;
  return (x < y) - (x > y);
}

static void on_exit_of_guest(PluginId id, void* unused) {
  (void)id;
  (void)unused;
  size_t count = 0;
  fprintf(output, "%" PRIu64 "\n", sum(&count));
  for (size_t i = 0; i + 1 < marks; ++i) fprintf(output, "%s%" PRIu64, i ? " " : "", parts[i]);
  fprintf(output, "\n");
  struct block** all = malloc((count ? count : 1) * sizeof(*all));
  if (!all) abort();
  size_t n = 0;
  for (size_t i = 0; i < BUCKETS; ++i) {
    for (struct block* b = buckets[i]; b; b = b->next) all[n++] = b;
  }
  qsort(all, n, sizeof(*all), by_instructions);
  for (size_t i = 0; i < n && i < shown; ++i) {
    fprintf(output, "0x%" PRIx64 ": %" PRIu64 " instructions, %" PRIu64 " times %" PRIu64 "\n%s", all[i]->address,
            all[i]->instructions, all[i]->instructions / all[i]->length, all[i]->length, all[i]->text ? all[i]->text : "");
  }
  fclose(output);
}

EXPORT int qemu_plugin_install(PluginId id, const qemu_info_t* info, int argc, char** argv) {
  (void)info;
  output = stderr;
  for (int i = 0; i < argc; ++i) {
    if (!strncmp(argv[i], "blocks=", 7)) shown = strtoul(argv[i] + 7, NULL, 10);
    if (!strncmp(argv[i], "out=", 4) && !(output = fopen(argv[i] + 4, "w"))) return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
  qemu_plugin_register_atexit_cb(id, on_exit_of_guest, NULL);
  return 0;
}
