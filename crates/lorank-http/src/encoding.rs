//! Compressed request bodies: gzip and deflate, decoded while they arrive. The limits on bodies apply to the decoded bytes.
//!
//! tower-http accepts `deflate` only in zlib's format, as RFC 9110 specifies, but many clients send raw deflate.

use std::error::Error;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use hyper::body::Frame;

use crate::{LiveConfig, ServerError};

/// The supported encodings, for the header `accept-encoding` of an error.
pub(crate) const ACCEPTED: &str = "gzip, deflate, identity";

/// The number of bytes decoded in one step, which expand by a factor of a thousand at most.
const STEP_BYTES: usize = 512;

/// Middleware that decodes bodies with documents to add.
pub(crate) async fn decode_bulk(State(live): State<LiveConfig>, request: Request, next: Next) -> Response {
    next.run(decoded(request, live.current().bulk_bytes_max)).await
}

/// Decodes the body if it has one supported encoding, and removes the header. [`expect_decoded`] rejects remaining encodings in the
/// route's error format.
pub(crate) fn decoded(mut request: Request, bytes_max: usize) -> Request {
    let Some(encoding) = Encoding::of(request.headers()) else { return request };
    request.headers_mut().remove(header::CONTENT_ENCODING);
    match encoding {
        Encoding::Identity => request,
        _ if request.body().is_end_stream() => request,
        // The reader of the body rejects it by this length, before reading.
        _ if request.body().size_hint().lower() > bytes_max as u64 => request,
        _ => {
            // The header has the length of the encoded bytes.
            request.headers_mut().remove(header::CONTENT_LENGTH);
            request.map(|body| Body::new(DecodedBody::new(body, encoding, bytes_max)))
        }
    }
}

/// Rejects a body in an encoding that was not decoded.
pub(crate) fn expect_decoded(headers: &HeaderMap) -> Result<(), ServerError> {
    let values: Vec<String> = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    if values.is_empty() { Ok(()) } else { Err(ServerError::UnsupportedEncoding { found: values.join(", ") }) }
}

/// An encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    /// The encoding in the headers; `None` for none, several or an unknown one.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        match value.to_str().ok()?.trim().to_ascii_lowercase().as_str() {
            "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

/// An error while decoding a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The body is invalid in its encoding.
    #[error("it is not valid {encoding}: {problem}")]
    Invalid {
        /// The encoding.
        encoding: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The encoded bytes exceed the limit.
    #[error("the body is longer than the limit of {bytes_max} bytes")]
    TooLong {
        /// The limit.
        bytes_max: usize,
    },
}

impl DecodeError {
    /// The decoding error among the causes of an error, if any.
    pub(crate) fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref())
    }
}

/// A body that is decoded as it is read.
struct DecodedBody {
    inner: Body,
    encoding: Encoding,
    decoder: Decoder,
    /// Received bytes that are not decoded yet.
    encoded: Bytes,
    n_encoded: usize,
    bytes_max: usize,
    is_over: bool,
}

impl DecodedBody {
    fn new(inner: Body, encoding: Encoding, bytes_max: usize) -> Self {
        let decoder = Decoder::new(encoding);
        Self { inner, encoding, decoder, encoded: Bytes::new(), n_encoded: 0, bytes_max, is_over: false }
    }

    /// Decodes one step of the received bytes.
    fn step(&mut self) -> Result<Bytes, DecodeError> {
        let step = self.encoded.split_to(STEP_BYTES.min(self.encoded.len()));
        self.decoder.decode(&step).map_err(|error| self.invalid(&error))
    }

    fn invalid(&self, error: &io::Error) -> DecodeError {
        DecodeError::Invalid { encoding: self.encoding.name(), problem: error.to_string() }
    }

    /// Decodes received bytes; `None` at the end of the body, which returns the remaining decoded bytes.
    fn take(&mut self, arrived: Option<Bytes>) -> Result<Bytes, DecodeError> {
        let Some(data) = arrived else {
            self.is_over = true;
            return self.decoder.finish().map_err(|error| self.invalid(&error));
        };
        self.n_encoded = self.n_encoded.saturating_add(data.len());
        if self.n_encoded > self.bytes_max {
            return Err(DecodeError::TooLong { bytes_max: self.bytes_max });
        }
        self.encoded = data;
        Ok(Bytes::new())
    }
}

impl HttpBody for DecodedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            let stepped = if self.encoded.is_empty() { Ok(Bytes::new()) } else { self.step() };
            match stepped {
                Err(error) => return Poll::Ready(Some(Err(axum::Error::new(error)))),
                Ok(decoded) if !decoded.is_empty() => return Poll::Ready(Some(Ok(Frame::data(decoded)))),
                Ok(_) if !self.encoded.is_empty() => continue,
                Ok(_) if self.is_over => return Poll::Ready(None),
                Ok(_) => {}
            }
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx)).transpose()?;
            // A frame without data is trailers.
            let arrived = frame.map(|frame| frame.into_data().unwrap_or_default());
            match self.take(arrived) {
                Err(error) => return Poll::Ready(Some(Err(axum::Error::new(error)))),
                Ok(last) if !last.is_empty() => return Poll::Ready(Some(Ok(Frame::data(last)))),
                Ok(_) => {}
            }
        }
    }
}

/// The state of decoding.
enum Decoder {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate { state: Inflate, is_over: bool },
}

/// The two formats of `deflate`, which the first two bytes distinguish.
enum Inflate {
    Undecided(Option<u8>),
    Decided(Decompress),
}

impl Decoder {
    fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Deflate => Self::Deflate { state: Inflate::Undecided(None), is_over: false },
            _ => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        match self {
            Self::Gzip(decoder) => {
                decoder.write_all(bytes)?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
            Self::Deflate { state, is_over } => {
                let bytes = match state {
                    Inflate::Decided(_) => bytes.to_vec(),
                    Inflate::Undecided(first) => first.take().into_iter().chain(bytes.iter().copied()).collect(),
                };
                if let Inflate::Undecided(first) = state {
                    let [one, other, ..] = bytes[..] else {
                        *first = bytes.first().copied();
                        return Ok(Bytes::new());
                    };
                    *state = Inflate::Decided(Decompress::new(is_zlib(one, other)));
                }
                let Inflate::Decided(decompress) = state else { return Ok(Bytes::new()) };
                inflate(decompress, &bytes, is_over).map(Bytes::from)
            }
        }
    }

    /// The remaining decoded bytes, if the body is complete.
    fn finish(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
            Self::Deflate { is_over: true, .. } => Ok(Bytes::new()),
            Self::Deflate { .. } => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected end")),
        }
    }
}

/// Whether two bytes are the header of zlib: its method, a window that exists, and their checksum (RFC 1950, 2.2).
fn is_zlib(one: u8, other: u8) -> bool {
    one & 0x0f == 8 && one >> 4 <= 7 && u16::from_be_bytes([one, other]).is_multiple_of(31)
}

fn inflate(decompress: &mut Decompress, mut bytes: &[u8], is_over: &mut bool) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    loop {
        if *is_over {
            let trailing = || io::Error::new(io::ErrorKind::InvalidData, "unexpected data after the end");
            return if bytes.is_empty() { Ok(decoded) } else { Err(trailing()) };
        }
        decoded.reserve(16 << 10);
        let (n_in, n_out) = (decompress.total_in(), decompress.total_out());
        let status = decompress.decompress_vec(bytes, &mut decoded, FlushDecompress::None)?;
        let n_taken = usize::try_from(decompress.total_in() - n_in).unwrap_or(usize::MAX);
        bytes = &bytes[n_taken.min(bytes.len())..];
        *is_over = status == Status::StreamEnd;
        if !*is_over && n_taken == 0 && decompress.total_out() == n_out {
            return Ok(decoded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::encoding::{deflate as raw, gzip, zlib};

    /// A body without a declared length.
    struct Undeclared(Body);

    impl HttpBody for Undeclared {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }
    }

    fn request(encoding: &str, body: Body) -> Request {
        Request::builder().header("content-encoding", encoding).body(body).unwrap()
    }

    async fn decode(encoding: &str, bytes: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>, String> {
        let request = decoded(request(encoding, Body::new(Undeclared(Body::from(bytes)))), bytes_max);
        expect_decoded(request.headers()).map_err(|error| error.to_string())?;
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
        body.map(|bytes| bytes.to_vec())
            .map_err(|error| DecodeError::find(&error).map_or_else(|| error.to_string(), |error| error.to_string()))
    }

    #[tokio::test]
    async fn what_was_encoded_comes_back() {
        let texts =
            [Vec::new(), b"x".to_vec(), vec![b'a'; 300_000], (0..100_000_u32).flat_map(u32::to_le_bytes).collect()];
        for text in texts {
            for (encoding, encoded) in [
                ("gzip", gzip(&text)),
                ("x-gzip", gzip(&text)),
                ("GZIP", gzip(&text)),
                ("deflate", zlib(&text)),
                ("deflate", raw(&text)),
                ("identity", text.clone()),
                // A body may have several members (RFC 1952, 2.2).
                ("gzip", [gzip(&text[..text.len() / 2]), gzip(&text[text.len() / 2..])].concat()),
            ] {
                assert_eq!(decode(encoding, encoded, 1 << 20).await.as_ref(), Ok(&text), "{encoding}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_cut_damaged_or_followed_by_more_is_an_error() {
        let text: Vec<u8> = (0..2_000_u32).flat_map(u32::to_le_bytes).collect();
        for (encoding, encoded) in [("gzip", gzip(&text)), ("deflate", zlib(&text)), ("deflate", raw(&text))] {
            let cut = encoded[..encoded.len() - 3].to_vec();
            let followed = [encoded.clone(), b"more".to_vec()].concat();
            for (what, bytes) in [("cut", cut), ("followed", followed), ("text", b"{\"query\": \"a\"}".to_vec())] {
                let error = decode(encoding, bytes, 1 << 20).await.unwrap_err();
                assert!(error.starts_with(&format!("it is not valid {encoding}: ")), "{what} {encoding}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn the_encoded_bytes_have_the_limit_too() {
        // Empty members of gzip decode to nothing, however many there are.
        let error = decode("gzip", gzip(b"").repeat(1_000), 1_000).await.unwrap_err();
        assert_eq!(error, "the body is longer than the limit of 1000 bytes");
    }

    /// The declared length stays, for the reader of the body to reject it.
    #[test]
    fn a_body_that_is_declared_too_long_is_not_decoded() {
        for (length, length_after) in [(1_000, 0), (1_001, 1_001)] {
            let request = decoded(request("gzip", Body::from(vec![0; length])), 1_000);
            assert_eq!(request.body().size_hint().lower(), length_after);
            assert!(expect_decoded(request.headers()).is_ok());
        }
    }

    #[tokio::test]
    async fn other_encodings_are_left_and_refused() {
        for encoding in ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "gzip, identity", "", "é"] {
            let error = decode(encoding, gzip(b"{}"), 1_000).await.unwrap_err();
            assert!(error.contains("use `gzip`, `deflate` or no encoding"), "{encoding}: {error}");
        }
    }
}
