//! Responses that a thread writes while they are sent, so that long responses are never in memory as a whole.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::ServerError;

/// The number of bytes of a chunk.
const CHUNK_BYTES: usize = 64 << 10;

/// The maximum number of chunks that wait for the client. The writer blocks meanwhile.
const CHUNKS_WAITING_MAX: usize = 2;

/// Some bytes, and whether they are the last.
type Chunk = Result<(Bytes, bool), ServerError>;

/// Writes a response. Only [`finish`](Self::finish) sends the last chunk, so nothing more is sent if writing fails.
pub(crate) struct AnswerWriter {
    buffer: Vec<u8>,
    chunks: Sender<Chunk>,
}

/// A writer, and the response that it writes.
pub(crate) fn streamed() -> (AnswerWriter, StreamedAnswer) {
    let (chunks, waiting) = channel(CHUNKS_WAITING_MAX);
    (AnswerWriter { buffer: Vec::new(), chunks }, StreamedAnswer { first: None, is_over: false, waiting })
}

impl AnswerWriter {
    /// Ends the response, or lets it fail.
    pub(crate) fn finish(mut self, written: Result<(), ServerError>) {
        let last = written.map(|()| (std::mem::take(&mut self.buffer).into(), true));
        // The client may have disconnected.
        let _ = self.chunks.blocking_send(last);
    }
}

impl Write for AnswerWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            let chunk = std::mem::take(&mut self.buffer).into();
            self.chunks.blocking_send(Ok((chunk, false))).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of a response that is being written.
pub(crate) struct StreamedAnswer {
    first: Option<Chunk>,
    is_over: bool,
    waiting: Receiver<Chunk>,
}

impl StreamedAnswer {
    /// The body, after its first chunk was written.
    ///
    /// # Errors
    /// The error of the writer if it failed before anything was sent. A later error aborts the response.
    pub(crate) async fn begin(mut self) -> Result<Body, ServerError> {
        self.first = Some(Ok(self.waiting.recv().await.unwrap_or(Err(ServerError::AnswerBrokenOff))?));
        Ok(Body::new(self))
    }
}

impl HttpBody for StreamedAnswer {
    type Data = Bytes;
    type Error = ServerError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ServerError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let chunk = match self.first.take() {
            Some(first) => first,
            None => ready!(self.waiting.poll_recv(cx)).unwrap_or(Err(ServerError::AnswerBrokenOff)),
        };
        self.is_over = chunk.as_ref().map_or(true, |(_, is_last)| *is_last);
        Poll::Ready(Some(chunk.map(|(bytes, _)| Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_sent_while_it_is_written() {
        let (mut writer, answer) = streamed();
        let lines = (0..100_000).map(|n| format!("{n}\n")).collect::<String>();
        let written = lines.clone();
        tokio::task::spawn_blocking(move || {
            written.lines().for_each(|line| writeln!(writer, "{line}").unwrap());
            writer.finish(Ok(()));
        });
        let body = axum::body::to_bytes(answer.begin().await.unwrap(), usize::MAX).await.unwrap();
        assert_eq!(body, lines.as_bytes());
    }

    #[tokio::test]
    async fn failures_are_told_at_the_beginning_and_break_off_later() {
        let failed = || ServerError::WithoutPart { part: "experiments" };
        let cases = [0, CHUNK_BYTES - 1, CHUNK_BYTES, 5 * CHUNK_BYTES].map(|n| [(n, true), (n, false)]);
        for (n_bytes, is_finished) in cases.into_iter().flatten() {
            let (mut writer, answer) = streamed();
            tokio::task::spawn_blocking(move || {
                (0..n_bytes).for_each(|_| writer.write_all(b"x").unwrap());
                if is_finished {
                    writer.finish(Err(failed()));
                }
            });
            match answer.begin().await {
                Err(error) => assert!(n_bytes < CHUNK_BYTES, "{n_bytes}: {error}"),
                Ok(body) => {
                    assert!(n_bytes >= CHUNK_BYTES);
                    assert!(axum::body::to_bytes(body, usize::MAX).await.is_err(), "{n_bytes}");
                }
            }
        }
    }

    #[tokio::test]
    async fn who_goes_away_ends_the_writing() {
        let (mut writer, answer) = streamed();
        drop(answer);
        let written =
            tokio::task::spawn_blocking(move || (0..10 * CHUNK_BYTES).try_for_each(|_| writer.write_all(b"x")));
        assert_eq!(written.await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
