//! The chunks of a PNG file, one after another (PNG specification, section 5.3).

/// What a file of this format begins with.
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// One chunk, or what is there of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    /// Its type, four letters.
    pub(super) name: [u8; 4],
    pub(super) data: &'a [u8],
    /// Its checksum; none where the file ends before it.
    checksum: Option<u32>,
    /// True where all of the data that its length promises is there.
    pub(super) is_whole: bool,
}

impl Chunk<'_> {
    /// True where the checksum is there and fits.
    pub(super) fn has_right_checksum(&self) -> bool {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.name);
        hasher.update(self.data);
        self.checksum == Some(hasher.finalize())
    }
}

/// How a walk over the chunks ended, where no IEND was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It goes on.
    None,
    /// The file ends here, in a chunk or between two.
    OfFile,
    /// What should be a chunk's type are no letters.
    Rubbish,
}

/// A walk over the chunks. It costs little: no chunk is looked into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks<'a> {
    rest: &'a [u8],
    end: End,
}

impl<'a> Chunks<'a> {
    /// From the first chunk on.
    pub(super) fn of(file: &'a [u8]) -> Self {
        Self {
            rest: file.get(SIGNATURE.len()..).unwrap_or_default(),
            end: End::None,
        }
    }

    /// How the walk ended.
    pub(super) fn end(&self) -> End {
        self.end
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let Some((head, rest)) = self.rest.split_first_chunk::<8>() else {
            self.end = End::OfFile;
            return None;
        };
        let [l0, l1, l2, l3, name @ ..] = *head;
        // As Pillow, which takes digits for letters too.
        if !name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        {
            self.end = End::Rubbish;
            return None;
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let Some((data, rest)) = rest.split_at_checked(length) else {
            self.rest = &[];
            return Some(Chunk {
                name,
                data: rest,
                checksum: None,
                is_whole: false,
            });
        };
        let checksum = rest.first_chunk().copied().map(u32::from_be_bytes);
        self.rest = rest.get(4..).unwrap_or_default();
        Some(Chunk {
            name,
            data,
            checksum,
            is_whole: true,
        })
    }
}

/// The parts of the compressed picture, wherever in the file they stand: all data of the chunks IDAT.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageData<'a>(pub(super) Chunks<'a>);

impl<'a> Iterator for ImageData<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let chunk = self.0.next()?;
            match &chunk.name {
                b"IDAT" => return Some(chunk.data),
                b"IEND" => return None,
                _ => {}
            }
        }
    }
}
