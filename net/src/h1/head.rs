//! Start lines and header fields, read line by line as they arrive. Owned by the connection that feeds it. The verdict
//! on a message must never depend on how its bytes were cut into packets, and no line may end in anything but CR LF.

use super::Limits;
use bytes::{Buf, Bytes, BytesMut};

/// Why a message is refused: the status a server answers with before it closes, and a reason for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reject {
    pub status: u16,
    pub reason: &'static str,
}

pub(crate) const fn reject(status: u16, reason: &'static str) -> Reject {
    Reject { status, reason }
}

/// Where one header field stands in the head block.
#[derive(Clone, Debug)]
struct Field {
    name: (u32, u32),
    value: (u32, u32),
}

/// The header fields of one message, in order. Names compare without case.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    block: Bytes,
    fields: Vec<Field>,
}

impl Headers {
    /// Bytes of the whole head, start line included.
    pub(crate) fn block_len(&self) -> usize {
        self.block.len()
    }

    pub(crate) fn slice(&self, range: (u32, u32)) -> &[u8] {
        &self.block[range.0 as usize..range.1 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // A name is a checked token, so it is ASCII and the fallback never shows.
        self.fields
            .iter()
            .map(|field| (std::str::from_utf8(self.slice(field.name)).unwrap_or(""), self.slice(field.value)))
    }

    /// The first value of this name, surrounding blanks removed. Bytes: old clients send Latin-1.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Like `get`, for fields that only make sense as text; `None` also when the value is not UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether a comma-separated list field (`Connection`, `Accept`) has this member, compared without case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.get_all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|member| member.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// The first line of a message: of a request here, of a response in `client`.
pub(crate) trait StartLine: Sized {
    fn parse(line: &[u8]) -> Result<Self, Reject>;
}

/// Finds the end of the line that starts at `start`, resuming where the last search stopped.
#[derive(Debug, Default)]
pub(crate) struct LineScan {
    searched: usize,
}

impl LineScan {
    /// `Ok(Some(end))`: the line is `bytes[start..end]`, CR LF stand at `end..end + 2`. `too_long` is the verdict when
    /// the line with its CR LF is longer than `bytes_max`.
    pub fn find(
        &mut self,
        bytes: &[u8],
        start: usize,
        bytes_max: usize,
        too_long: Reject,
    ) -> Result<Option<usize>, Reject> {
        let from = start.max(self.searched);
        let Some(lf) = bytes[from..].iter().position(|byte| *byte == b'\n') else {
            self.searched = bytes.len();
            return if bytes.len() - start > bytes_max { Err(too_long) } else { Ok(None) };
        };
        let lf = from + lf;
        self.searched = 0;
        if lf + 1 - start > bytes_max {
            return Err(too_long);
        }
        if lf == start || bytes[lf - 1] != b'\r' {
            return Err(reject(400, "line ends without CR"));
        }
        Ok(Some(lf - 1))
    }
}

/// Reads one head. After `Some` it is used up: the next message gets a new one.
#[derive(Debug)]
pub(crate) struct HeadParser<S> {
    start_line: Option<S>,
    fields: Vec<Field>,
    line_start: usize,
    empty_lines: usize,
    scan: LineScan,
}

impl<S> Default for HeadParser<S> {
    fn default() -> Self {
        HeadParser { start_line: None, fields: Vec::new(), line_start: 0, empty_lines: 0, scan: LineScan::default() }
    }
}

impl<S: StartLine> HeadParser<S> {
    /// Empty lines skipped before a request line: some old clients end a POST body with a CR LF nobody counted
    /// (RFC 9112, 2.2).
    const EMPTY_LINES_MAX: usize = 2;

    /// Takes one complete head off `input`, or leaves `input` as it is and answers `None`.
    pub fn advance(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Option<(S, Headers)>, Reject> {
        const TOO_LONG: Reject = reject(431, "header too long");
        loop {
            let start = self.line_start;
            let bytes_left = limits.header_bytes_max.saturating_sub(start);
            let Some(end) = self.scan.find(input, start, bytes_left, TOO_LONG)? else {
                return Ok(None);
            };
            self.line_start = end + 2;
            let line = &input[start..end];
            if self.start_line.is_none() {
                if !line.is_empty() {
                    self.start_line = Some(S::parse(line)?);
                } else if self.empty_lines < Self::EMPTY_LINES_MAX {
                    self.empty_lines += 1;
                    self.line_start = 0;
                    input.advance(2);
                } else {
                    return Err(reject(400, "empty lines instead of a message"));
                }
            } else if !line.is_empty() {
                let (name_len, value) = parse_field(line)?;
                if self.fields.len() >= limits.header_count_max {
                    return Err(reject(431, "too many header fields"));
                }
                let at = |offset: usize| u32::try_from(start + offset).expect("a head is far below 4 GiB");
                self.fields.push(Field { name: (at(0), at(name_len)), value: (at(value.0), at(value.1)) });
            } else if let Some(start_line) = self.start_line.take() {
                let block = input.split_to(self.line_start).freeze();
                return Ok(Some((start_line, Headers { block, fields: std::mem::take(&mut self.fields) })));
            }
        }
    }

    /// The start line, once it is known.
    pub fn start_line(&self) -> Option<&S> {
        self.start_line.as_ref()
    }
}

/// Checks one field line; answers the length of the name and where the value stands without surrounding blanks.
pub(crate) fn parse_field(line: &[u8]) -> Result<(usize, (usize, usize)), Reject> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(reject(400, "folded header line"));
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(reject(400, "header line without colon"))?;
    if !is_token(&line[..colon]) {
        // Also a blank before the colon, which some readers strip and others take as part of the name.
        return Err(reject(400, "malformed header name"));
    }
    if !line[colon..].iter().all(|byte| is_field_byte(*byte)) {
        return Err(reject(400, "control character in a header value"));
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut value = (colon + 1, line.len());
    while value.0 < value.1 && is_blank(&line[value.0]) {
        value.0 += 1;
    }
    while value.0 < value.1 && is_blank(&line[value.1 - 1]) {
        value.1 -= 1;
    }
    Ok((colon, value))
}

/// What a field value may hold: blanks, visible ASCII and the upper half, but no control characters.
pub(crate) fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// A token of RFC 9110, 5.6.2: methods and field names.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// The minor version behind `HTTP/1.`; every later 1.x is answered as 1.1.
pub(crate) fn parse_version(text: &[u8]) -> Result<u8, Reject> {
    match text {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            if *major == b'1' {
                Ok((minor - b'0').min(1))
            } else {
                Err(reject(505, "not HTTP/1.x"))
            }
        }
        _ => Err(reject(400, "malformed HTTP version")),
    }
}
