//! Compressed batches.

use super::header::{HEADER_LEN, Header};
use super::{Batch, BatchError, END_LEN, MAX_UNPACKED_LEN_BYTES, check_records};
use std::cell::RefCell;
use std::fmt;
use zstd_safe::{CCtx, DCtx};

/// The default level of Zstandard.
const ZSTD_LEVEL: i32 = 3;

/// A [`Compressor`] keeps a buffer of up to this length for the next batch.
const MAX_KEPT_BUFFER_LEN: usize = 1 << 20;

/// How the area of a batch is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// One block in the LZ4 block format.
    Lz4,
    /// One Zstandard frame.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// A batch, compressed or not. `B` holds the octets, as in [`Batch`].
#[derive(Clone, Copy, Debug)]
pub enum AnyBatch<B> {
    /// Its records can be read.
    Plain(Batch<B>),
    /// It must be unpacked before its records can be read.
    Compressed(CompressedBatch<B>),
}

impl<B: AsRef<[u8]>> AnyBatch<B> {
    /// Checks a batch: all of it, except the compressed area of a compressed batch. That area is checked when it is
    /// unpacked.
    ///
    /// # Errors
    ///
    /// The reason why the octets are not a batch that this version can read.
    pub fn check(octets: B) -> Result<Self, BatchError> {
        let header = Header::read(octets.as_ref())?;
        match header.compression {
            None => Batch::with_header(octets, header).map(Self::Plain),
            Some(compression) => Ok(Self::Compressed(CompressedBatch { octets, header, compression })),
        }
    }

    /// The number of records, at least 1.
    pub fn count(&self) -> usize {
        match self {
            Self::Plain(batch) => batch.count(),
            Self::Compressed(batch) => batch.count(),
        }
    }

    /// The whole batch.
    pub fn as_octets(&self) -> &[u8] {
        match self {
            Self::Plain(batch) => batch.as_octets(),
            Self::Compressed(batch) => batch.as_octets(),
        }
    }
}

/// A compressed batch with a valid header and a valid checksum.
#[derive(Clone, Copy)]
pub struct CompressedBatch<B> {
    octets: B,
    header: Header,
    compression: Compression,
}

impl<B: AsRef<[u8]>> CompressedBatch<B> {
    /// The number of records, at least 1.
    pub fn count(&self) -> usize {
        self.header.count as usize
    }

    /// The length of the batch after it is unpacked.
    pub fn unpacked_len_bytes(&self) -> usize {
        HEADER_LEN + self.header.area_len as usize
    }

    /// The average length of the records, with their attributes.
    pub fn mean_record_len_bytes(&self) -> usize {
        // The header was checked: the table for its count of records fits into the area.
        self.header.area_len as usize / self.count() - END_LEN
    }

    /// The whole batch, compressed.
    pub fn as_octets(&self) -> &[u8] {
        self.octets.as_ref()
    }

    /// The container of the octets.
    pub fn into_octets(self) -> B {
        self.octets
    }

    /// The same batch, without the ownership of its octets.
    pub fn borrowed(&self) -> CompressedBatch<&[u8]> {
        let Self { header, compression, .. } = *self;
        CompressedBatch { octets: self.as_octets(), header, compression }
    }

    /// The same batch with its octets in another container. `convert` must not change the octets.
    pub fn map<C: AsRef<[u8]>>(self, convert: impl FnOnce(B) -> C) -> CompressedBatch<C> {
        let Self { octets, header, compression } = self;
        CompressedBatch { octets: convert(octets), header, compression }
    }

    /// The batch without compression, in the memory of `buffer`. Allocates at most the length that the header claims,
    /// which is within the limits of the format.
    ///
    /// # Errors
    ///
    /// The reason why the compressed area is not that of a valid batch.
    pub fn unpack(&self, mut buffer: Vec<u8>) -> Result<Batch<Vec<u8>>, BatchError> {
        let table = self.unpack_area(&mut buffer)?;
        Header { compression: None, ..self.header }.write(&mut buffer);
        Ok(Batch::of_parts(buffer, table, &self.header))
    }

    /// Checks that the batch can be unpacked. Uses the memory of `buffer`.
    ///
    /// # Errors
    ///
    /// As [`unpack`](Self::unpack).
    pub fn check_area(&self, buffer: &mut Vec<u8>) -> Result<(), BatchError> {
        self.unpack_area(buffer).map(drop)
    }

    /// Unpacks the area to its place in a batch. `buffer` then has the length of the batch, and no header. Returns
    /// where the table of ends begins.
    fn unpack_area(&self, buffer: &mut Vec<u8>) -> Result<usize, BatchError> {
        let len = self.unpacked_len_bytes();
        if buffer.capacity() < len {
            // The system provides zeros without a write.
            *buffer = vec![0; len];
        } else {
            buffer.resize(len, 0);
        }
        let block = self.octets.as_ref().get(HEADER_LEN..).unwrap_or_default();
        let area = &mut buffer[HEADER_LEN..];
        if unpack_block(self.compression, block, area) != Some(area.len()) {
            return Err(BatchError::Unpack(self.compression));
        }
        // The header was checked: the table for its count of records fits into the area.
        let (records, table) = area.split_at(area.len() - self.count() * END_LEN);
        check_records(records, table, self.header.has_attributes)?;
        Ok(HEADER_LEN + records.len())
    }
}

impl<B> fmt::Debug for CompressedBatch<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompressedBatch").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Compresses batches, one after the other, with the same memory.
pub struct Compressor {
    compression: Compression,
    buffer: Vec<u8>,
    /// `None` until it is needed.
    zstd: Option<CCtx<'static>>,
}

impl Compressor {
    /// A compressor with this method.
    pub fn new(compression: Compression) -> Self {
        Self { compression, buffer: Vec::new(), zstd: None }
    }

    /// The same batch, compressed. `None` when that is not shorter, or the batch is too long for compression.
    pub fn compress<B: AsRef<[u8]>>(&mut self, batch: &Batch<B>) -> Option<CompressedBatch<Vec<u8>>> {
        let area = batch.as_octets().get(HEADER_LEN..)?;
        if area.len() > MAX_UNPACKED_LEN_BYTES {
            return None;
        }
        let compression = self.compression;
        let header = Header { compression: Some(compression), ..batch.header() };
        let len = self.compress_block(area).filter(|&len| len < area.len());
        let octets = len.and_then(|len| self.buffer.get(..len)).map(|block| header.with_area(block));
        if self.buffer.len() > MAX_KEPT_BUFFER_LEN {
            self.buffer = Vec::new();
        }
        octets.map(|octets| CompressedBatch { octets, header, compression })
    }

    /// Compresses into the beginning of `buffer`. Returns the length of the result, if it fits.
    fn compress_block(&mut self, area: &[u8]) -> Option<usize> {
        let max_len = match self.compression {
            Compression::Lz4 => lz4_flex::block::get_maximum_output_size(area.len()),
            Compression::Zstd => area.len(),
        };
        if self.buffer.len() < max_len {
            self.buffer.resize(max_len, 0);
        }
        match self.compression {
            Compression::Lz4 => lz4_flex::block::compress_into(area, &mut self.buffer).ok(),
            Compression::Zstd => {
                let zstd = self.zstd.get_or_insert_with(CCtx::create);
                zstd.compress(&mut self.buffer[..], area, ZSTD_LEVEL).ok()
            }
        }
    }
}

/// Unpacks a block into `area`. Returns the length of the result, or `None` when the block is invalid or the result
/// does not fit.
///
/// The result itself is the window from which a block repeats octets. So no frame makes Zstandard allocate memory for a
/// window.
fn unpack_block(compression: Compression, block: &[u8], area: &mut [u8]) -> Option<usize> {
    thread_local! {
        /// Allocating it takes longer than unpacking a short batch.
        static ZSTD: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
    }
    match compression {
        Compression::Lz4 => lz4_flex::block::decompress_into(block, area).ok(),
        // Zstandard would ignore further frames without content.
        Compression::Zstd if zstd_safe::find_frame_compressed_size(block) != Ok(block.len()) => None,
        Compression::Zstd => ZSTD.with_borrow_mut(|zstd| {
            let zstd = match zstd {
                Some(zstd) => zstd,
                none => none.insert(DCtx::try_create()?),
            };
            zstd.decompress(area, block).ok()
        }),
    }
}
