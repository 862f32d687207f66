//! Backups over the control socket: a stream of frames, each with its length before it. The last frame says how it ended,
//! so that the client learns why a backup failed after it began.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::stream::body_of;
use super::{Control, Refusal};
use crate::domain::{Error, Result as DomainResult};

/// The path of the call.
pub(super) const PATH: &str = "/backup";
/// The text of a request for a backup with the keys; another text is one for a backup without them.
const WITH_KEYS: &str = "with keys";
const WITHOUT_KEYS: &str = "without keys";
/// The header with the size of the archive in bytes.
const BYTES_HEADER: &str = "x-ingle-bytes";
/// The size of a frame in bytes.
const FRAME_BYTES: usize = 256 * 1024;
/// The number of frames that wait for the client.
const FRAMES_MAX: usize = 4;
/// The length that stands before the text of an error.
const ERROR: u32 = u32::MAX;
/// What the thread of a backup adds to its nice value, so that it gives way to the threads that serve.
const NICE: i32 = 10;

/// The open data folder, for the calls that need its files.
pub trait DataFolder: Send + Sync + 'static {
    /// Takes a snapshot for a backup. Blocks.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Busy`] while other backups run; [`Error::Store`].
    fn begin_backup(&self, with_keys: bool) -> DomainResult<Box<dyn PreparedBackup>>;

    /// Examines a snapshot of the whole folder and returns the report as JSON. Blocks.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Store`].
    fn verify(&self) -> DomainResult<String>;
}

/// A backup whose snapshot was taken.
pub trait PreparedBackup: Send {
    /// The size of its archive in bytes.
    fn bytes(&self) -> u64;

    /// Writes the archive. Blocks.
    ///
    /// # Errors
    /// [`Error::Refused`] if a file is damaged; [`Error::Store`].
    fn write(&self, to: &mut dyn Write) -> DomainResult<()>;
}

pub(super) async fn backup(State(folder): State<Arc<dyn DataFolder>>, body: String) -> Result<Response, Refusal> {
    let with_keys = body == WITH_KEYS;
    let prepared =
        tokio::task::spawn_blocking(move || folder.begin_backup(with_keys)).await.map_err(Error::store)??;
    let bytes = prepared.bytes().to_string();
    let (sender, frames) = mpsc::channel(FRAMES_MAX);
    let write = move || {
        // On Linux this changes only the calling thread. Without the permission the backup is only less polite.
        let _ = rustix::process::nice(NICE);
        let mut writer = FrameWriter { sender, buffer: Vec::new() };
        let written = prepared.write(&mut writer);
        writer.finish(written);
    };
    std::thread::Builder::new().name("backup".to_owned()).spawn(write).map_err(Error::store)?;
    Ok(([(BYTES_HEADER, bytes)], Body::new(body_of(frames))).into_response())
}

/// Divides an archive into frames.
struct FrameWriter {
    sender: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl FrameWriter {
    fn send(&mut self, length: u32, content: &[u8]) -> io::Result<()> {
        let frame = [&length.to_be_bytes(), content].concat();
        self.sender.blocking_send(frame.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends the last frame.
    fn finish(mut self, written: DomainResult<()>) {
        let ended = match written.and_then(|()| self.flush().map_err(Error::store)) {
            Ok(()) => self.send(0, &[]),
            Err(error) if !self.sender.is_closed() => {
                let text = super::text_of(&error);
                tracing::warn!(error = text, "a backup was not completed");
                self.send(ERROR, text.as_bytes())
            }
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        };
        if ended.is_err() {
            tracing::warn!("a backup was not completed: its client has disconnected");
        }
    }
}

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= FRAME_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let content = std::mem::take(&mut self.buffer);
        if content.is_empty() {
            return Ok(());
        }
        self.send(u32::try_from(content.len()).map_err(io::Error::other)?, &content)
    }
}

/// The archive of a backup as a client receives it.
pub struct ReceivedBackup {
    /// Its size in bytes.
    pub bytes: u64,
    body: Body,
    received: Vec<u8>,
}

impl Control {
    /// Begins a backup of the data folder.
    ///
    /// # Errors
    /// The text of a refusal, or why the server could not be reached.
    pub async fn backup(&self, with_keys: bool) -> Result<ReceivedBackup, String> {
        let text = if with_keys { WITH_KEYS } else { WITHOUT_KEYS };
        let response = self.send(PATH, text.to_owned().into()).await?;
        let bytes = response.headers().get(BYTES_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = bytes.ok_or("the running server makes no backups: it is of an older version")?;
        Ok(ReceivedBackup { bytes, body: response.into_body(), received: Vec::new() })
    }
}

impl ReceivedBackup {
    /// The next piece of the archive; `None` when it is complete.
    ///
    /// # Errors
    /// Why the server could not complete the backup.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if let Some((head, rest)) = self.received.split_first_chunk::<4>() {
                match u32::from_be_bytes(*head) {
                    0 => return Ok(None),
                    ERROR => {}
                    length if rest.len() >= length as usize => {
                        let after = self.received.split_off(4 + length as usize);
                        let piece = Bytes::from(std::mem::replace(&mut self.received, after)).slice(4..);
                        return Ok(Some(piece));
                    }
                    _ => {}
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.received.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Some(Err(error)) => return Err(format!("the server broke off the backup: {error}")),
                None => return Err(self.ended()),
            }
        }
    }

    /// The error that the last frame says.
    fn ended(&self) -> String {
        match self.received.split_first_chunk::<4>() {
            Some((head, text)) if u32::from_be_bytes(*head) == ERROR => String::from_utf8_lossy(text).into_owned(),
            _ => "the server broke off the backup".to_owned(),
        }
    }
}
