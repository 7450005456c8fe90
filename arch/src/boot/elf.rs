//! ELF vmlinux: program headers, and Xen's note with the PVH entry point.
//!
//! Read here and not by `linux_loader`'s loader, which checks the headers only while it already writes
//! to memory and reads notes without a bound.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::file::InputFile;
use super::image::{Image, KernelError, KernelFormat, Segment};
use crate::layout::{HIGH_MEMORY, HIGH_RAM};

/// Linux's COMMAND_LINE_SIZE on x86 is 2048 with the NUL; an ELF file does not say it.
const CMDLINE_MAX: u64 = 2047;
/// Without a header to say more, Linux's own default of the highest byte of an initrd.
const INITRD_LAST: u64 = 0x7FFF_FFFF;

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_EXECUTABLE: u16 = 2;
const TYPE_SHARED: u16 = 3;
const MACHINE_386: u16 = 3;
const MACHINE_X86_64: u16 = 62;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_INTERPRETER: u32 = 3;
const SEGMENT_NOTE: u32 = 4;
const SECTION_WITHOUT_BYTES: u32 = 8;
/// Xen's public/elfnote.h.
const XEN_PHYS32_ENTRY: u32 = 18;
const XEN_NAME: &[u8] = b"Xen\0";

/// A vmlinux has about five.
const MAX_SEGMENTS: u16 = 128;
/// A vmlinux has about 512 bytes of notes.
const MAX_NOTES: u64 = 64 << 10;

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FileHeader {
    magic: [u8; 4],
    class: u8,
    data: u8,
    ident: [u8; 10],
    kind: U16,
    machine: U16,
    version: U32,
    entry: U64,
    program_headers: U64,
    section_headers: U64,
    flags: U32,
    header_size: U16,
    program_header_size: U16,
    program_header_count: U16,
    section_header_size: U16,
    section_header_count: U16,
    section_names: U16,
}

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ProgramHeader {
    kind: U32,
    flags: U32,
    offset: U64,
    virtual_address: U64,
    physical_address: U64,
    file_size: U64,
    memory_size: U64,
    alignment: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SectionHeader {
    name: U32,
    kind: U32,
    flags: U64,
    address: U64,
    offset: U64,
    size: U64,
    link: U32,
    info: U32,
    alignment: U64,
    entry_size: U64,
}

pub(crate) fn is_elf(start: &[u8]) -> bool {
    start.starts_with(b"\x7FELF")
}

/// An ELF file as its headers describe it; every part lies within the file.
#[derive(Debug)]
pub(crate) struct Elf {
    /// Parts to copy, none of them empty.
    pub segments: Vec<Segment>,
    /// End of the memory that its segments take.
    pub memory_end: u64,
    /// Its own entry point, not checked.
    pub entry: u64,
    /// That of its note, not checked.
    pvh_entry: Option<u64>,
    /// End of what its program headers describe in the file.
    programs_end: u64,
    sections: Sections,
}

/// Where the section headers are.
#[derive(Debug)]
struct Sections {
    offset: u64,
    count: u16,
    len: u16,
}

impl Elf {
    /// Fails unless `entry` lies in a segment.
    pub fn check_entry(&self, input: &InputFile, entry: u64) -> Result<(), KernelError> {
        let is_code = |segment: &Segment| segment.address <= entry && entry < segment.end();
        match self.segments.iter().any(is_code) {
            true => Ok(()),
            false => Err(damaged(input, "its entry point lies in none of its segments")),
        }
    }

    /// Where the file ends as far as its headers describe it; more may follow. Fails if its section
    /// headers are not there.
    pub fn file_end(&self, input: &InputFile) -> Result<u64, KernelError> {
        let Sections { offset, count, len } = self.sections;
        let headers_len = u64::from(count).saturating_mul(u64::from(len));
        let headers_end = offset.saturating_add(headers_len);
        if headers_end > input.len {
            return Err(truncated(input, "its section headers", headers_end));
        }
        if count > 0 && usize::from(len) != size_of::<SectionHeader>() {
            return Err(damaged(input, "its section headers have a wrong size"));
        }
        let mut headers = vec![0; headers_len as usize];
        read_exact(input, &mut headers, offset, "its section headers")?;
        let (headers, _) = headers.as_chunks::<{ size_of::<SectionHeader>() }>();
        let section_end = |bytes: &[u8; size_of::<SectionHeader>()]| {
            let section: SectionHeader = zerocopy::transmute!(*bytes);
            match section.kind.get() {
                SECTION_WITHOUT_BYTES => 0,
                _ => section.offset.get().saturating_add(section.size.get()),
            }
        };
        let sections_end = headers.iter().map(section_end).max().unwrap_or(0);
        let end = headers_end.max(sections_end).max(self.programs_end);
        match end > input.len {
            true => Err(truncated(input, "a section", end)),
            false => Ok(end),
        }
    }
}

/// A kernel by its headers: entered by PVH if it has the note for it.
pub(crate) fn inspect(input: &InputFile) -> Result<Image, KernelError> {
    let elf = read(input)?;
    let (format, entry) = match elf.pvh_entry {
        Some(entry) => (KernelFormat::ElfPvh, entry),
        None => (KernelFormat::Elf, elf.entry),
    };
    elf.check_entry(input, entry)?;
    Ok(Image {
        format,
        entry,
        memory_end: elf.memory_end,
        segments: elf.segments,
        cmdline_max: CMDLINE_MAX,
        initrd_last: match format {
            KernelFormat::ElfPvh => HIGH_RAM.saturating_sub(1),
            _ => INITRD_LAST,
        },
        setup_header: None,
        payload: None,
        relocations: None,
    })
}

/// Reads and checks all headers but those of sections.
pub(crate) fn read(input: &InputFile) -> Result<Elf, KernelError> {
    let header = file_header(input)?;
    let mut elf = Elf {
        segments: Vec::new(),
        memory_end: 0,
        entry: header.entry.get(),
        pvh_entry: None,
        programs_end: 0,
        sections: Sections {
            offset: header.section_headers.get(),
            count: header.section_header_count.get(),
            len: header.section_header_size.get(),
        },
    };
    for index in 0..header.program_header_count.get() {
        let program = program_header(input, &header, index)?;
        let end = program.offset.get().saturating_add(program.file_size.get());
        elf.programs_end = elf.programs_end.max(end);
        match program.kind.get() {
            SEGMENT_LOAD => {
                elf.memory_end = elf.memory_end.max(check_load(input, &program)?);
                if program.file_size.get() > 0 {
                    elf.segments.push(Segment {
                        offset: program.offset.get(),
                        len: program.file_size.get(),
                        address: program.physical_address.get(),
                    });
                }
            }
            SEGMENT_INTERPRETER => {
                let guess = "it is a program for an operating system";
                return Err(KernelError::NotAKernel { name: input.name.clone(), guess });
            }
            SEGMENT_NOTE if elf.pvh_entry.is_none() => elf.pvh_entry = pvh_note(input, &program)?,
            _ => {}
        }
    }
    Ok(elf)
}

fn damaged(input: &InputFile, reason: &'static str) -> KernelError {
    KernelError::Damaged { name: input.name.clone(), reason }
}

fn truncated(input: &InputFile, part: &'static str, needed: u64) -> KernelError {
    KernelError::Truncated { name: input.name.clone(), part, needed, len: input.len }
}

fn file_header(input: &InputFile) -> Result<FileHeader, KernelError> {
    let mut header = FileHeader::default();
    let part = "its ELF header";
    read_exact(input, header.as_mut_bytes(), 0, part)?;
    let name = || input.name.clone();
    if header.data != LITTLE_ENDIAN {
        return Err(KernelError::OtherMachine {
            name: name(),
            machine: header.machine.get().swap_bytes(),
        });
    }
    match (header.machine.get(), header.class) {
        (MACHINE_X86_64, CLASS_64) => {}
        (MACHINE_X86_64 | MACHINE_386, _) => {
            return Err(KernelError::ThirtyTwoBit { name: name() });
        }
        (machine, _) => {
            return Err(KernelError::OtherMachine { name: name(), machine });
        }
    }
    if !matches!(header.kind.get(), TYPE_EXECUTABLE | TYPE_SHARED) {
        return Err(KernelError::NotAKernel {
            name: name(),
            guess: "it is an ELF file, but not an executable one",
        });
    }
    if usize::from(header.program_header_size.get()) != size_of::<ProgramHeader>() {
        return Err(damaged(input, "its program headers have a wrong size"));
    }
    if header.program_header_count.get() > MAX_SEGMENTS {
        return Err(damaged(input, "it has more than 128 program headers"));
    }
    Ok(header)
}

fn program_header(
    input: &InputFile,
    header: &FileHeader,
    index: u16,
) -> Result<ProgramHeader, KernelError> {
    let skip = u64::from(index).saturating_mul(size_of::<ProgramHeader>() as u64);
    let offset = header.program_headers.get().saturating_add(skip);
    let mut program = ProgramHeader::default();
    read_exact(input, program.as_mut_bytes(), offset, "its program headers")?;
    Ok(program)
}

/// Checks one PT_LOAD against the file; returns the end of its memory.
fn check_load(input: &InputFile, program: &ProgramHeader) -> Result<u64, KernelError> {
    let (file_size, memory_size) = (program.file_size.get(), program.memory_size.get());
    if file_size > memory_size {
        return Err(damaged(input, "a segment is larger in the file than in memory"));
    }
    let file_end = program.offset.get().saturating_add(file_size);
    if file_end > input.len {
        return Err(truncated(input, "a segment", file_end));
    }
    let address = program.physical_address.get();
    if memory_size > 0 && address < HIGH_MEMORY {
        return Err(damaged(input, "a segment wants to be loaded below 1 MiB"));
    }
    address
        .checked_add(memory_size)
        .ok_or_else(|| damaged(input, "a segment ends beyond all addresses"))
}

/// Looks for the PVH entry point in one PT_NOTE.
fn pvh_note(input: &InputFile, program: &ProgramHeader) -> Result<Option<u64>, KernelError> {
    let len = program.file_size.get();
    let end = program.offset.get().saturating_add(len);
    if end > input.len {
        return Err(truncated(input, "its notes", end));
    }
    if len > MAX_NOTES {
        return Err(damaged(input, "it has more than 64 KiB of notes"));
    }
    let mut bytes = vec![0; len as usize];
    read_exact(input, &mut bytes, program.offset.get(), "its notes")?;
    let alignment = match program.alignment.get() {
        8 => 8,
        _ => 4,
    };
    let Some(descriptor) = find_note(&bytes, alignment, XEN_NAME, XEN_PHYS32_ENTRY) else {
        return Ok(None);
    };
    // 4 or 8 bytes long, depending on the kernel; a 32-bit entry point in both cases.
    let Some((entry, rest)) = descriptor.split_first_chunk() else {
        return Err(damaged(input, "its PVH note is too short"));
    };
    if rest.iter().any(|&byte| byte != 0) {
        return Err(damaged(input, "its PVH entry point lies above 4 GiB"));
    }
    Ok(Some(u64::from(u32::from_le_bytes(*entry))))
}

/// The descriptor of the first note of that name and kind; a note cut short ends the search.
///
/// Descriptors and notes begin at multiples of `alignment` from the start of the segment.
fn find_note<'a>(notes: &'a [u8], alignment: usize, name: &[u8], kind: u32) -> Option<&'a [u8]> {
    let mut at = 0usize;
    loop {
        let (header, rest) = <[U32; 3]>::read_from_prefix(notes.get(at..)?).ok()?;
        let [name_len, descriptor_len, note_kind] = header.map(|word| word.get());
        let note_name = rest.get(..name_len as usize)?;
        let descriptor_at = at
            .checked_add(size_of_val(&header))?
            .checked_add(note_name.len())?
            .checked_next_multiple_of(alignment)?;
        let descriptor = notes.get(descriptor_at..)?.get(..descriptor_len as usize)?;
        if note_kind == kind && note_name == name {
            return Some(descriptor);
        }
        at = descriptor_at.checked_add(descriptor.len())?.checked_next_multiple_of(alignment)?;
    }
}

fn read_exact(
    input: &InputFile,
    buffer: &mut [u8],
    offset: u64,
    part: &'static str,
) -> Result<(), KernelError> {
    let wanted = buffer.len();
    match input.read_at(buffer, offset)? {
        read if read == wanted => Ok(()),
        _ => Err(truncated(input, part, offset.saturating_add(wanted as u64))),
    }
}
