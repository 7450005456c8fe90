# Entry of the guest: to 64-bit mode on page tables of its own, through `set_up`, and down to user mode for good.
#
# Two ways lead in. PVH (xen/include/public/arch-x86/hvm/start_info.h): 32-bit, paging off, EBX has the start
# info. The 64-bit entry of Linux (Documentation/arch/x86/boot.rst): long mode, identity-mapped, RSI has the
# zero page. Both go on with EDI = what they were given and ESI = which it was.

    .section .note.pvh, "a", @note
    .long 4, 4, 18                      # sizes of name and value; XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long entry_32

# The low 4 GiB as they are, in pages of 2 MiB, for user mode too. The same words are other bytes in the two modes.
    .macro make_tables a, c, d
    mov \a, offset pdpt
    or \a, 7                             # present, writable, user
    mov [pml4], \a
    mov \d, offset pdpt
    mov \a, offset directories
    or \a, 7
    mov \c, 4
1:  mov [\d], \a
    add \a, 4096
    add \d, 8
    dec \c
    jnz 1b
    mov \d, offset directories
    mov \a, 0x87                         # and large
    mov \c, 2048
2:  mov [\d], \a
    add \a, 0x200000
    add \d, 8
    dec \c
    jnz 2b
    .endm

    .section .text.entry, "ax"
    .code32
    .globl entry_32
entry_32:
    cli
    cld
    mov esp, offset stack_top
    mov edi, ebx
    xor esi, esi
    make_tables eax, ecx, edx
    mov eax, cr4
    or eax, 0x620                       # PAE, and SSE without its exceptions: OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov ecx, 0xc0000080                 # EFER: long mode
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000003                  # paging, monitored coprocessor
    and eax, 0xfffffffb                 # that is there
    mov cr0, eax
    lgdt [gdt_register]
    push 0x8
    mov eax, offset long_mode
    push eax
    retf

    .code64
    .globl entry_64
entry_64:
    cli
    cld
    mov rsp, offset stack_top
    mov edi, esi
    mov esi, 1
    make_tables rax, rcx, rdx
    mov rax, cr4
    or rax, 0x620
    mov cr4, rax
    mov rax, cr0
    or rax, 0x2
    and rax, 0xfffffffffffffffb
    mov cr0, rax
    mov rax, offset pml4
    mov cr3, rax
    lgdt [gdt_register]
    push 0x8
    mov rax, offset long_mode
    push rax
    retfq

long_mode:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov rsp, offset stack_top
    xor ebp, ebp
    call set_up
    # Down to user mode, where even an emulated kernel mode costs nothing any more.
    push 0x1b
    mov rax, offset stack_top
    push rax
    push 0x3002                         # port access, interrupts off
    push 0x23
    mov rax, offset user_mode
    push rax
    iretq
user_mode:
    xor ebp, ebp
    call work
    ud2

    .balign 16
gdt:
    .quad 0
    .quad 0x00af9b000000ffff            # 0x08: code of kernel mode
    .quad 0x00cf93000000ffff            # 0x10: data of kernel mode
    .quad 0x00cff3000000ffff            # 0x18 + 3: data of user mode
    .quad 0x00affb000000ffff            # 0x20 + 3: its code
gdt_register:
    .word gdt_register - gdt - 1
    .quad gdt

    .section .bss
    .balign 4096
    .globl pml4
pml4:
    .skip 4096
pdpt:
    .skip 4096
directories:
    .skip 16384
    .skip 262144
stack_top:
