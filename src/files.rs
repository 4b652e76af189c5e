//! Reads whole files: never more than a limit, and never from anything that could block (a FIFO, a device).
//!
//! Every file that this program reads whole is read here. Errors are clauses; the caller names the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Why a file was not read. A clause without the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A pipe, a socket or a device, which may never end, or a folder.
    #[error("it is not a regular file")]
    NotRegular,
    /// Larger than the limit.
    #[error("it has {size} bytes; the limit is {limit}")]
    TooLong {
        /// Bytes of the file.
        size: u64,
        /// Bytes that are read at most.
        limit: u64,
    },
    /// A stream, whose size is not known, has more than the limit.
    #[error("more than {limit} bytes, the limit")]
    StreamTooLong {
        /// Bytes that are read at most.
        limit: u64,
    },
}

impl ReadError {
    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// A regular file, or what links to one, of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    // Asked before it is opened: to open a pipe without a writer already waits.
    if !path.metadata()?.is_file() {
        return Err(ReadError::NotRegular);
    }
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if size > limit {
        return Err(ReadError::TooLong { size, limit });
    }
    match read_stream(file, limit) {
        // It grew meanwhile.
        Err(ReadError::StreamTooLong { limit }) => Err(ReadError::TooLong { size: limit + 1, limit }),
        read => read,
    }
}

/// As [`read`], but also from a pipe: for paths that a person gives on the command line, as a shell's `<(command)`. It waits for the pipe's
/// end.
pub fn read_or_pipe(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    use std::os::unix::fs::FileTypeExt as _;
    if path.metadata()?.file_type().is_fifo() {
        return read_stream(File::open(path)?, limit);
    }
    read(path, limit)
}

/// A stream to its end, of at most `limit` bytes. A part never passes for the whole.
pub fn read_stream(stream: impl Read, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    stream.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::StreamTooLong { limit });
    }
    Ok(bytes)
}

/// As [`read`], from async code: a disk that hangs keeps one thread of its own.
pub async fn read_async(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&path, limit)).await;
    read.unwrap_or_else(|died| Err(io::Error::other(died).into()))
}

/// How many files this process may have open; `None` where that is unlimited.
pub fn most_open() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn said(result: Result<Vec<u8>, ReadError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "12345").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        assert_eq!(read(&link, 5).unwrap(), b"12345");
        assert_eq!(said(read(&file, 4)), "it has 5 bytes; the limit is 4");
        assert_eq!(said(read(folder.path(), 5)), "it is not a regular file");
        assert_eq!(said(read(Path::new("/dev/zero"), 5)), "it is not a regular file");
        assert!(read(&folder.path().join("absent"), 5).unwrap_err().is_not_found());
        assert!(!read(&file, 4).unwrap_err().is_not_found());
    }

    #[test]
    fn files_that_say_they_are_empty_are_bounded_too() {
        let file = Path::new("/proc/self/maps");
        assert_eq!(file.metadata().unwrap().len(), 0);
        assert_eq!(said(read(file, 16)), "it has 17 bytes; the limit is 16");
    }

    #[test]
    fn a_pipe_is_read_only_where_a_person_named_it() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        // Nobody writes: to open it would wait for ever.
        assert_eq!(said(read(&pipe, 5)), "it is not a regular file");
        for (limit, expect) in [(5, Ok("12345")), (4, Err("more than 4 bytes, the limit"))] {
            let writer = std::thread::spawn({
                let pipe = pipe.clone();
                move || fs::write(pipe, "12345")
            });
            let read = read_or_pipe(&pipe, limit).map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(
                read.map_err(|error| error.to_string()),
                expect.map(str::to_owned).map_err(str::to_owned)
            );
            let _ = writer.join().unwrap();
        }
        assert_eq!(said(read_or_pipe(Path::new("/dev/zero"), 5)), "it is not a regular file");
    }

    #[test]
    fn a_part_of_a_stream_never_passes_for_the_whole() {
        assert_eq!(read_stream(&b"12345"[..], 5).unwrap(), b"12345");
        assert_eq!(said(read_stream(&b"123456"[..], 5)), "more than 5 bytes, the limit");
        assert_eq!(said(read_stream(io::repeat(0), 5)), "more than 5 bytes, the limit");
    }

    #[tokio::test]
    async fn async_code_reads_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "12345").unwrap();
        assert_eq!(read_async(file.path(), 5).await.unwrap(), b"12345");
        assert_eq!(said(read_async(file.path(), 4).await), "it has 5 bytes; the limit is 4");
    }
}
