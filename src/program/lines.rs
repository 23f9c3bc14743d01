//! Lines of an input, of bounded length.

/// Splits an input into lines. The input is read in pieces. A line longer than the limit is skipped while it is read.
pub struct Lines {
    max_len_bytes: usize,
    /// The last byte of each line.
    delimiter: u8,
    /// Whether the carriage returns before the delimiter belong to the line end.
    has_returns: bool,
    /// What was read of the current line; empty when the line is too long.
    partial: Vec<u8>,
    /// The length of the current line so far, without `held_returns`.
    len_bytes: u64,
    /// The number of carriage returns at the end of the input so far. They belong to the line if more of the line
    /// follows.
    held_returns: u64,
    /// The number of the current line, from 1 on.
    number: u64,
}

/// The result of a piece of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A whole line, without its end.
    Whole(&'a [u8]),
    /// The line with this number has just exceeded the limit. More of it may follow.
    TooLong {
        /// The number of the line, from 1 on.
        number: u64,
    },
    /// The end of a line that was too long.
    Skipped {
        /// The number of the line, from 1 on.
        number: u64,
        /// The length of the whole line.
        len_bytes: u64,
    },
    /// The line continues.
    Part,
}

impl Lines {
    /// Starts at line 1. A line is skipped if it has more than `max_len_bytes` before its end. The end of a line is
    /// `delimiter`. Without one, it is a line feed and the carriage returns before it. Carriage returns at the end of
    /// the input are a line end, too.
    pub fn new(max_len_bytes: usize, delimiter: Option<u8>) -> Lines {
        Lines {
            max_len_bytes,
            delimiter: delimiter.unwrap_or(b'\n'),
            has_returns: delimiter.is_none(),
            partial: Vec::new(),
            len_bytes: 0,
            held_returns: 0,
            number: 1,
        }
    }

    /// The byte that ends each line.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// The number of the current line, from 1 on.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Takes a piece of the input. Only the last byte of the piece may be the delimiter. If it is, call [`Lines::next`]
    /// before the next piece.
    pub fn push<'a>(&'a mut self, piece: &'a [u8]) -> Line<'a> {
        match piece.split_last() {
            Some((&last, part)) if last == self.delimiter => self.take(part, true),
            _ => self.take(piece, false),
        }
    }

    /// Takes a part of the current line. `is_end`: the line ends after this part.
    fn take<'a>(&'a mut self, part: &'a [u8], is_end: bool) -> Line<'a> {
        let is_text = |&byte: &u8| byte != b'\r' || !self.has_returns;
        let text_len = part.iter().rposition(is_text).map_or(0, |last| last + 1);
        let (part, returns) = part.split_at(text_len);
        let held = if part.is_empty() { 0 } else { std::mem::take(&mut self.held_returns) };
        self.held_returns += returns.len() as u64;
        let was_too_long = self.len_bytes > self.max_len_bytes as u64;
        self.len_bytes += held + part.len() as u64;
        match (self.len_bytes > self.max_len_bytes as u64, is_end) {
            (true, false) if was_too_long => Line::Part,
            (true, false) => {
                self.partial = Vec::new();
                Line::TooLong { number: self.number }
            }
            (true, true) => Line::Skipped { number: self.number, len_bytes: self.len_bytes },
            (false, true) if self.partial.is_empty() && held == 0 => Line::Whole(part),
            (false, is_end) => {
                self.partial.resize(self.partial.len() + held as usize, b'\r');
                self.partial.extend_from_slice(part);
                if is_end { Line::Whole(&self.partial) } else { Line::Part }
            }
        }
    }

    /// Starts the next line.
    pub fn next(&mut self) {
        self.partial.clear();
        (self.len_bytes, self.held_returns, self.number) = (0, 0, self.number + 1);
    }

    /// Ends the input. Returns the last line, if it has no line end.
    pub fn end(&mut self) -> Option<Line<'_>> {
        (self.len_bytes + self.held_returns > 0).then(|| self.take(b"", true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of an input that is read in pieces of `len` bytes: their content, or the number and length of skipped
    /// lines.
    fn lines(input: &[u8], len: usize) -> Vec<Result<Vec<u8>, (u64, u64)>> {
        lines_of(Lines::new(3, None), input, len)
    }

    fn lines_of(mut lines: Lines, input: &[u8], len: usize) -> Vec<Result<Vec<u8>, (u64, u64)>> {
        let mut found = Vec::new();
        let mut announced = None;
        let delimiter = lines.delimiter();
        let pieces = input.chunks(len).flat_map(|chunk| chunk.split_inclusive(|&byte| byte == delimiter));
        for piece in pieces {
            match lines.push(piece) {
                Line::Whole(line) => found.push(Ok(line.to_vec())),
                Line::Skipped { number, len_bytes } => {
                    assert!(announced.take().is_none_or(|announced| announced == number));
                    found.push(Err((number, len_bytes)));
                }
                Line::TooLong { number } => assert_eq!(announced.replace(number), None, "announced once"),
                Line::Part => {}
            }
            if piece.ends_with(&[delimiter]) {
                lines.next();
            }
            assert!(lines.partial.len() <= 3);
        }
        match lines.end() {
            Some(Line::Whole(line)) => found.push(Ok(line.to_vec())),
            Some(Line::Skipped { number, len_bytes }) => found.push(Err((number, len_bytes))),
            Some(line) => panic!("{line:?}"),
            None => {}
        }
        found
    }

    #[test]
    fn the_size_of_the_pieces_does_not_change_the_lines() {
        let whole = |line: &str| Ok(line.as_bytes().to_vec());
        for len in 1..20 {
            let expected = [whole("abc"), whole(""), Err((3, 8)), whole("x"), Err((5, 4)), whole("end")];
            assert_eq!(lines(b"abc\n\nabcdefgh\nx\n1234\nend", len), expected, "{len}");
            assert_eq!(lines(b"12345", len), [Err((1, 5))], "{len}");
            assert_eq!(lines(b"", len), [], "{len}");
            let expected =
                [whole("a"), whole(""), whole("abc"), whole("a\rb"), Err((5, 4)), whole("\ra"), whole("")];
            assert_eq!(lines(b"a\r\n\r\nabc\r\r\r\na\rb\r\nab\rc\r\n\ra\n\r", len), expected, "{len}");
        }
    }

    #[test]
    fn with_a_delimiter_carriage_returns_belong_to_the_line() {
        let whole = |line: &str| Ok(line.as_bytes().to_vec());
        for len in 1..20 {
            let lines = |delimiter, input| lines_of(Lines::new(3, Some(delimiter)), input, len);
            assert_eq!(lines(b'\n', b"a\r\n\r\nb"), [whole("a\r"), whole("\r"), whole("b")], "{len}");
            let expected = [whole("a\r\n"), whole(""), Err((3, 4)), whole("\r")];
            assert_eq!(lines(0, b"a\r\n\0\0ab\r\n\0\r"), expected, "{len}");
        }
    }
}
