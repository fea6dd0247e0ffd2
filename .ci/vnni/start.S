// A PC from the boot loader (multiboot) to 64-bit mode with SSE, AVX and AVX-512 on, as an operating system sets it up, and
// the entry of its system calls. Everything runs at the highest privilege, on one gigabyte of memory mapped as it is.
  .section .multiboot, "a"
  .align 4
  .long 0x1BADB002, 3, -(0x1BADB002 + 3)  // modules on pages, memory map

  .bss
  .align 4096
level4: .skip 4096
level3: .skip 4096
level2: .skip 4096
stack: .skip 65536
stack_end:

  .data
  .align 16
segments: .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff  // none, code, data
segments_size: .word 23
  .long segments, 0

  .text
  .code32
  .global _start
_start:
  cli
  mov %ebx, %esi  // what the boot loader tells
  mov $level3 + 3, %eax
  mov %eax, level4
  mov $level2 + 3, %eax
  mov %eax, level3
  xor %ecx, %ecx
map:
  mov %ecx, %eax
  shl $21, %eax
  or $0x83, %eax
  mov %eax, level2(, %ecx, 8)
  inc %ecx
  cmp $512, %ecx
  jne map
  mov $level4, %eax
  mov %eax, %cr3
  mov %cr4, %eax
  or $0x40620, %eax  // PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
  mov %eax, %cr4
  mov $0xC0000080, %ecx
  rdmsr
  or $0x101, %eax  // 64-bit mode, system calls
  wrmsr
  mov %cr0, %eax
  and $0xfffffffb, %eax
  or $0x80000003, %eax
  mov %eax, %cr0
  lgdt segments_size
  ljmp $8, $wide

  .code64
wide:
  mov $16, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $stack_end, %rsp
  mov $0xd, %eax
  xor %ecx, %ecx
  cpuid
  and $0xe7, %eax  // of what the CPU has: x87, SSE, AVX, AVX-512
  xor %ecx, %ecx
  xor %edx, %edx
  xsetbv
  mov $0xC0000081, %ecx  // segments of system calls: code 8, data 16
  xor %eax, %eax
  mov $8, %edx
  wrmsr
  mov $0xC0000082, %ecx
  mov $system_call, %eax
  xor %edx, %edx
  wrmsr
  mov %esi, %edi
  call start  // returns in rax the entry, in rdx the stack of the program
  mov %rdx, %rsp
  xor %edx, %edx
  jmp *%rax

// rax number and result; rdi, rsi, rdx, r10, r8, r9 arguments; the caller's next instruction is in rcx.
system_call:
  lea -256(%rsp), %rsp  // a leaf function of the program may use 128 bytes below its stack
  push %rcx
  push %r11
  push %rdi
  push %rsi
  push %rdx
  push %r10
  push %r8
  push %r9
  push %rbx
  push %rax
  mov %rsp, %rdi
  mov %rsp, %rbx
  and $-16, %rsp
  call serve
  mov %rbx, %rsp
  pop %rbx  // the number: served
  pop %rbx
  pop %r9
  pop %r8
  pop %r10
  pop %rdx
  pop %rsi
  pop %rdi
  pop %r11
  pop %rcx
  lea 256(%rsp), %rsp
  jmp *%rcx

  .section .note.GNU-stack, "", @progbits
