//! How the console consumer prints a record: in the format of `--format`, or as JSON.

use super::Result;
use super::escapes::{delimiter, key_delimiter, refused, take_byte};
use super::record_json::write_json;
use crate::partition_name::PartitionName;
use crate::text::printable;
use crate::wire::batch::{Headers, Record};
use clap::ArgMatches;
use std::ffi::OsString;
use std::io::{self, Write};

/// A record and its place.
pub struct Place<'a> {
    /// The partition.
    pub partition: PartitionName<'a>,
    /// The offset. `None` if it is not known.
    pub offset: Option<u64>,
}

/// How to print records.
#[derive(Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// The parts one after the other, with nothing after the last one.
    Parts(Vec<Part>),
    /// `--json`
    Json,
}

/// A part of the printed record.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// The same bytes for each record.
    Text(Vec<u8>),
    /// A property of the record.
    Field(Field),
}

/// A property of a record, and its letter in a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `%t`
    Topic,
    /// `%p`
    Partition,
    /// `%o`, -1 if unknown
    Offset,
    /// `%T` and `%d`, -1 without one
    Timestamp,
    /// `%k`, nothing without one
    Key,
    /// `%K`, -1 without a key
    KeyLen,
    /// `%s` and `%v`
    Content,
    /// `%S` and `%V`
    ContentLen,
    /// `%R`, four bytes in network byte order
    BinaryContentLen,
    /// `%h`
    Headers,
}

impl Field {
    fn of(letter: u8) -> Option<Field> {
        Some(match letter {
            b't' => Field::Topic,
            b'p' => Field::Partition,
            b'o' => Field::Offset,
            b'T' | b'd' => Field::Timestamp,
            b'k' => Field::Key,
            b'K' => Field::KeyLen,
            b's' | b'v' => Field::Content,
            b'S' | b'V' => Field::ContentLen,
            b'R' => Field::BinaryContentLen,
            b'h' => Field::Headers,
            _ => return None,
        })
    }

    fn write(self, place: &Place, record: &Record, output: &mut impl Write) -> io::Result<()> {
        match self {
            Field::Topic => output.write_all(place.partition.topic),
            Field::Partition => output.write_all(place.partition.producer),
            Field::Offset => write_number(place.offset, output),
            Field::Timestamp => write_number(record.timestamp_ms, output),
            Field::Key => output.write_all(record.key.unwrap_or_default()),
            Field::KeyLen => write_number(record.key.map(<[u8]>::len), output),
            Field::Content => output.write_all(record.content),
            Field::ContentLen => write!(output, "{}", record.content.len()),
            // A content has at most 1 GiB.
            Field::BinaryContentLen => output.write_all(&(record.content.len() as u32).to_be_bytes()),
            Field::Headers => write_headers(&record.headers, output),
        }
    }
}

impl RecordFormat {
    /// The format that the options of the console consumer choose.
    ///
    /// # Errors
    /// When the value of an option is not valid.
    pub fn of(matches: &ArgMatches) -> Result<RecordFormat> {
        if matches.get_flag("json") {
            return Ok(RecordFormat::Json);
        }
        if let Some(format) = matches.get_one::<OsString>("format") {
            let format = RecordFormat::parse(format.as_encoded_bytes());
            return format.map_err(|problem| refused("format", problem));
        }
        let text = |text: &[u8]| Part::Text(text.into());
        let mut parts =
            vec![Part::Field(Field::Topic), text(b" "), Part::Field(Field::Partition), text(b" ")];
        if let Some(delimiter) = key_delimiter(matches)? {
            parts.extend([Part::Field(Field::Key), Part::Text(delimiter)]);
        }
        let end = delimiter(matches)?.unwrap_or(b'\n');
        parts.extend([Part::Field(Field::Content), Part::Text(vec![end])]);
        Ok(RecordFormat::Parts(parts))
    }

    fn parse(mut format: &[u8]) -> Result<RecordFormat, String> {
        let (mut parts, mut text) = (Vec::new(), Vec::new());
        while let Some(&first) = format.first() {
            match (first, format.get(1)) {
                (b'%', Some(b'%')) => {
                    text.push(b'%');
                    format = &format[2..];
                }
                (b'%', Some(&letter)) => {
                    let Some(field) = Field::of(letter) else {
                        let unknown = printable(&format[..2]);
                        return Err(format!(
                            "{unknown} is none of %t %p %o %T %d %k %K %s %v %S %V %R %h %%"
                        ));
                    };
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(Part::Field(field));
                    format = &format[2..];
                }
                (b'%', None) => return Err("write %% for a percent sign".into()),
                _ => text.push(take_byte(&mut format)?),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(RecordFormat::Parts(parts))
    }

    /// Prints a record.
    ///
    /// # Errors
    /// The errors of `output`.
    pub fn write(&self, place: &Place, record: &Record, output: &mut impl Write) -> io::Result<()> {
        match self {
            RecordFormat::Json => write_json(place, record, output),
            RecordFormat::Parts(parts) => parts.iter().try_for_each(|part| match part {
                Part::Text(text) => output.write_all(text),
                Part::Field(field) => field.write(place, record, output),
            }),
        }
    }
}

/// Writes a number, or -1 without one.
fn write_number(number: Option<impl std::fmt::Display>, output: &mut impl Write) -> io::Result<()> {
    match number {
        Some(number) => write!(output, "{number}"),
        None => output.write_all(b"-1"),
    }
}

/// Writes headers as `name=value,name=value`.
fn write_headers(headers: &Headers, output: &mut impl Write) -> io::Result<()> {
    for (index, (name, value)) in headers.iter().enumerate() {
        let comma: &[u8] = if index > 0 { b"," } else { b"" };
        for text in [comma, name, b"=", value] {
            output.write_all(text)?;
        }
    }
    Ok(())
}
