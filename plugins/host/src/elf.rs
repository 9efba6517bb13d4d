//! A shared library's file, read as data: where its constants are, and what they
//! will hold once loaded. No code of the library runs, and a pointer that leads
//! nowhere is an error instead of a crash.

use std::collections::HashMap;

use object::read::elf::ElfFile64;
use object::read::elf::{Dyn as _, ProgramHeader as _};
use object::read::{
    Object as _, ObjectSegment as _, ObjectSymbol as _, ObjectSymbolTable as _, RelocationTarget,
};
use object::{Architecture, Endianness, RelocationFlags, RelocationKind, elf};

use crate::error::FileError;

/// Longest string that a descriptor may hold, in bytes.
const MAX_TEXT: u64 = 64 << 10;
/// Longest name of a library, or list of folders, in bytes.
const MAX_NAME: u64 = 4096;
/// Most libraries that a file may need.
const MAX_NEEDED: usize = 256;
/// Relocation types that mean "the library's address plus an addend": `R_X86_64_RELATIVE`
/// and `R_AARCH64_RELATIVE` of the ELF supplements for these processors.
const RELATIVE: [u32; 2] = [8, 1027];

/// A file whose constants can be followed.
pub(crate) struct Image<'d> {
    segments: Vec<(u64, &'d [u8])>,
    /// What the loader will put at an address: the address it points to within the
    /// library, or `None` for something of another library.
    relocations: HashMap<u64, Option<u64>>,
    symbols: HashMap<String, u64>,
    /// What the loader will open beside it.
    pub(crate) needs: Needs,
    /// The processor that it was built for.
    pub(crate) architecture: Architecture,
}

/// The libraries that a file needs, and the folders in which it wants them to be looked for first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// `DT_NEEDED` and the like.
    pub libraries: Vec<String>,
    /// `DT_RUNPATH` and `DT_RPATH`.
    pub folders: Vec<String>,
}

impl<'d> Image<'d> {
    /// Reads a file.
    ///
    /// # Errors
    /// [`FileError::NotALibrary`] for what is no 64-bit little-endian ELF shared library.
    pub(crate) fn parse(data: &'d [u8]) -> Result<Self, FileError> {
        let not = |reason: String| FileError::NotALibrary(reason);
        if !data.starts_with(b"\x7fELF") {
            return Err(not("it does not begin as an ELF file does".into()));
        }
        let file = ElfFile64::<Endianness>::parse(data).map_err(|error| not(error.to_string()))?;
        if !file.is_little_endian() || file.kind() != object::ObjectKind::Dynamic {
            return Err(not(
                "it is an ELF file, but no little-endian shared library".into(),
            ));
        }
        let segments = file
            .segments()
            .filter_map(|segment| Some((segment.address(), segment.data().ok()?)))
            .collect();
        let table = file.dynamic_symbol_table();
        let mut relocations = HashMap::new();
        for (address, relocation) in file.dynamic_relocations().into_iter().flatten() {
            let addend = relocation.addend();
            let target = match (relocation.target(), relocation.flags()) {
                (RelocationTarget::Absolute, RelocationFlags::Elf { r_type })
                    if RELATIVE.contains(&r_type.0) =>
                {
                    Some(addend.cast_unsigned())
                }
                (RelocationTarget::Symbol(index), _)
                    if relocation.kind() == RelocationKind::Absolute =>
                {
                    let symbol = table.as_ref().and_then(|t| t.symbol_by_index(index).ok());
                    let symbol = symbol.filter(|symbol| symbol.is_definition());
                    symbol.map(|symbol| symbol.address().wrapping_add_signed(addend))
                }
                _ => None,
            };
            relocations.insert(address, target);
        }
        let symbols = file
            .dynamic_symbols()
            .filter(|symbol| symbol.is_definition())
            .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())))
            .collect();
        let mut image = Self {
            segments,
            relocations,
            symbols,
            needs: Needs::default(),
            architecture: file.architecture(),
        };
        image.needs = image.read_needs(&file)?;
        Ok(image)
    }

    /// Read as the loader does, by the program's headers: those of sections may say anything.
    fn read_needs(&self, file: &ElfFile64<'d, Endianness>) -> Result<Needs, FileError> {
        let not = |error: object::Error| FileError::NotALibrary(error.to_string());
        let endian = file.endian();
        let mut needs = Needs::default();
        for header in file.elf_program_headers() {
            let Some(entries) = header.dynamic(endian, file.data()).map_err(not)? else {
                continue;
            };
            let entries = || {
                entries
                    .iter()
                    .take_while(|entry| entry.tag(endian) != elf::DT_NULL)
            };
            let mut tables = entries().filter(|entry| entry.tag(endian) == elf::DT_STRTAB);
            let Some(table) = tables.next().map(|entry| entry.val(endian)) else {
                continue;
            };
            for entry in entries() {
                let at = table.wrapping_add(entry.val(endian));
                match entry.tag(endian) {
                    elf::DT_NEEDED | elf::DT_AUXILIARY | elf::DT_FILTER => {
                        needs.libraries.push(self.name(at)?);
                    }
                    elf::DT_RPATH | elf::DT_RUNPATH => {
                        let folders = self.name(at)?;
                        needs.folders.extend(folders.split(':').map(str::to_owned));
                    }
                    _ => {}
                }
                if needs.libraries.len().max(needs.folders.len()) > MAX_NEEDED {
                    let most = format!("it needs more than {MAX_NEEDED} libraries or folders");
                    return Err(FileError::Descriptor(most));
                }
            }
        }
        Ok(needs)
    }

    /// The text at an address, up to its NUL.
    fn name(&self, address: u64) -> Result<String, FileError> {
        let mut name = Vec::new();
        for at in 0..MAX_NAME {
            match self.bytes(address.wrapping_add(at), 1)?[0] {
                0 => return Ok(String::from_utf8_lossy(&name).into_owned()),
                byte => name.push(byte),
            }
        }
        let long = format!("the name of a library is longer than {MAX_NAME} bytes");
        Err(FileError::Descriptor(long))
    }

    /// The address of an exported symbol.
    pub(crate) fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols.get(name).copied()
    }

    /// The exported symbols, sorted.
    pub(crate) fn exports(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.symbols.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    fn bytes(&self, address: u64, len: u64) -> Result<&'d [u8], FileError> {
        let found = self.segments.iter().find_map(|(start, data)| {
            let from = usize::try_from(address.checked_sub(*start)?).ok()?;
            let to = from.checked_add(usize::try_from(len).ok()?)?;
            data.get(from..to)
        });
        found.ok_or_else(|| {
            FileError::Descriptor(format!(
                "{len} bytes at {address:#x} are not constants of the file: the entry and all that it points to must be static const"
            ))
        })
    }

    /// The struct at an address, of which this host knows `known` bytes and of which
    /// there must be `least`. Its `struct_size` is at `size_at`.
    pub(crate) fn record(
        &'_ self,
        what: &'static str,
        address: u64,
        size_at: usize,
        (least, known): (usize, usize),
    ) -> Result<Record<'_, 'd>, FileError> {
        let size = self.u32(address.wrapping_add(size_at as u64))? as usize;
        if size < least {
            return Err(FileError::ShortStruct { what, size, least });
        }
        let size = size.min(known);
        self.bytes(address, size as u64)?;
        Ok(Record {
            image: self,
            address,
            size,
        })
    }

    fn u32(&self, address: u64) -> Result<u32, FileError> {
        let bytes = self.bytes(address, 4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(crate) fn u64(&self, address: u64) -> Result<u64, FileError> {
        let mut word = [0; 8];
        word.copy_from_slice(self.bytes(address, 8)?);
        Ok(u64::from_le_bytes(word))
    }

    /// The pointer at an address, 0 for null.
    pub(crate) fn pointer(&self, address: u64) -> Result<u64, FileError> {
        match self.relocations.get(&address) {
            Some(Some(target)) => Ok(*target),
            Some(None) => Err(FileError::Descriptor(format!(
                "the pointer at {address:#x} leads into another library"
            ))),
            None => self.u64(address),
        }
    }
}

/// A struct in a file; what lies beyond its `struct_size` reads as zero.
#[derive(Clone, Copy)]
pub(crate) struct Record<'i, 'd> {
    image: &'i Image<'d>,
    address: u64,
    size: usize,
}

impl Record<'_, '_> {
    fn has(&self, offset: usize, len: usize) -> bool {
        offset + len <= self.size
    }

    pub(crate) fn u32(&self, offset: usize) -> Result<u32, FileError> {
        if self.has(offset, 4) {
            self.image.u32(self.address + offset as u64)
        } else {
            Ok(0)
        }
    }

    pub(crate) fn usize(&self, offset: usize) -> Result<usize, FileError> {
        if !self.has(offset, 8) {
            return Ok(0);
        }
        let value = self.image.u64(self.address + offset as u64)?;
        usize::try_from(value).map_err(|_| FileError::Descriptor(format!("{value} is too large")))
    }

    pub(crate) fn pointer(&self, offset: usize) -> Result<u64, FileError> {
        if self.has(offset, 8) {
            self.image.pointer(self.address + offset as u64)
        } else {
            Ok(0)
        }
    }

    /// The text of an `oz_span`.
    pub(crate) fn text(&self, what: &str, offset: usize) -> Result<String, FileError> {
        let address = self.pointer(offset)?;
        let len = self.usize(offset + 8)? as u64;
        if len == 0 {
            return Ok(String::new());
        }
        if len > MAX_TEXT {
            return Err(FileError::Descriptor(format!(
                "{what} is {len} bytes long, at most {MAX_TEXT} are allowed"
            )));
        }
        let bytes = self.image.bytes(address, len)?;
        String::from_utf8(bytes.to_vec())
            .map_err(|_| FileError::Descriptor(format!("{what} is not UTF-8")))
    }

    /// The addresses in an array of pointers.
    pub(crate) fn pointers(
        &self,
        what: &str,
        (array_at, count_at): (usize, usize),
        most: usize,
    ) -> Result<Vec<u64>, FileError> {
        let count = self.usize(count_at)?;
        if count > most {
            return Err(FileError::Descriptor(format!(
                "{count} {what}: at most {most} are allowed"
            )));
        }
        let array = self.pointer(array_at)?;
        (0..count as u64)
            .map(|index| self.image.pointer(array.wrapping_add(index * 8)))
            .collect()
    }

    /// An array of `i64`.
    pub(crate) fn integers(&self, array_at: usize, count: usize) -> Result<Vec<i64>, FileError> {
        let array = self.pointer(array_at)?;
        (0..count as u64)
            .map(|index| {
                let at = array.wrapping_add(index * 8);
                Ok(self.image.u64(at)?.cast_signed())
            })
            .collect()
    }
}
