//! What there is of a file until it is whole: beside the output, under a name that says of which file it is a part.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

use super::{Kept, Whole};
use crate::output;
use crate::units::hexadecimal;

const SUFFIX: &str = ".part";
/// Characters of a SHA-256 in hexadecimal.
const SHA256: usize = 64;

/// What there is of a file. Only when it is whole, it gets the output's name.
pub(super) struct Part {
    output: PathBuf,
    begun: Option<Begun>,
    /// Whether any of it is of an earlier call.
    has_earlier: bool,
    /// Whether the service knows, or has known, the file in this call.
    is_known: bool,
}

struct Begun {
    sha256: String,
    path: PathBuf,
    /// Locked: two calls for one output would write into each other's file.
    file: File,
    length: u64,
    hasher: Sha256,
}

impl Part {
    /// Opens what an earlier call for the same output has left, if it has.
    pub(super) fn open(output: &Path) -> io::Result<Self> {
        let output = output::resolve(output)?;
        if fs::metadata(&output).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not an ordinary file, which could be gone on with",
            ));
        }
        let mut part = Self {
            begun: None,
            has_earlier: false,
            is_known: false,
            output,
        };
        if let Some(sha256) = part.find_earlier()? {
            let mut begun = part.open_part(&sha256)?;
            begun.read()?;
            part.has_earlier = begun.length > 0;
            part.begun = Some(begun);
        }
        Ok(part)
    }

    fn open_part(&self, sha256: &str) -> io::Result<Begun> {
        // If the output cannot be written to, its part can, or the next call could not go on with it.
        let mode = self.mode().map(|mode| mode | 0o600);
        Begun::open(self.path_of(sha256)?, sha256, mode)
    }

    /// The mode of the output that is replaced, if there is one.
    fn mode(&self) -> Option<u32> {
        output::mode_of_replaced(&self.output, 0o666)
    }

    fn path_of(&self, sha256: &str) -> io::Result<PathBuf> {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.output.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        name.push(format!(".{sha256}{SUFFIX}"));
        Ok(self.output.with_file_name(name))
    }

    /// The SHA-256 in the name of an earlier call's part.
    fn find_earlier(&self) -> io::Result<Option<String>> {
        let name = self.output.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        for entry in fs::read_dir(output::parent(&self.output))? {
            let entry = entry?.file_name();
            let rest = entry
                .as_encoded_bytes()
                .strip_prefix(b".")
                .and_then(|rest| {
                    rest.strip_prefix(name.as_encoded_bytes())?
                        .strip_prefix(b".")
                })
                .and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
            if let Some(sha256) = rest.and_then(|rest| std::str::from_utf8(rest).ok())
                && sha256.len() == SHA256
                && sha256.bytes().all(|byte| byte.is_ascii_hexdigit())
            {
                return Ok(Some(sha256.to_owned()));
            }
        }
        Ok(None)
    }

    /// The SHA-256 of the file that it is a part of, once that is known.
    pub(super) fn sha256(&self) -> Option<&str> {
        self.begun.as_ref().map(|begun| begun.sha256.as_str())
    }

    /// How many bytes there are.
    pub(super) fn length(&self) -> u64 {
        self.begun.as_ref().map_or(0, |begun| begun.length)
    }

    /// Whether any of it is of an earlier call.
    pub(super) fn has_earlier(&self) -> bool {
        self.has_earlier
    }

    /// Begins the file of this SHA-256 from its first byte. What there is of another one is of no use any more.
    pub(super) fn begin(&mut self, sha256: &str) -> io::Result<()> {
        if self.sha256() != Some(sha256) {
            self.discard();
            self.begun = Some(self.open_part(sha256)?);
        }
        self.has_earlier = false;
        self.is_known = true;
        self.begun.as_mut().map_or(Ok(()), Begun::empty)
    }

    /// Adds bytes at its end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.is_known = true;
        self.begun
            .as_mut()
            .map_or(Ok(()), |begun| begun.write(bytes))
    }

    /// Gives the file its name, if it is the one that it should be; else returns its SHA-256, and the one expected, and removes it.
    pub(super) fn finish(&mut self) -> io::Result<Result<Whole, (String, String)>> {
        let Some(begun) = self.begun.take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let found = hexadecimal(&begun.hasher.finalize());
        if found != begun.sha256 {
            fs::remove_file(&begun.path)?;
            return Ok(Err((found, begun.sha256)));
        }
        output::set_mode(&begun.file, self.mode())?;
        output::publish(&begun.file, &self.output, || {
            fs::rename(&begun.path, &self.output)
        })?;
        Ok(Ok(Whole {
            bytes: begun.length,
            sha256: begun.sha256,
        }))
    }

    /// Removes what there is.
    pub(super) fn discard(&mut self) {
        self.has_earlier = false;
        if let Some(begun) = self.begun.take() {
            let _ = fs::remove_file(&begun.path);
        }
    }

    /// Removes what there is of a file that the service has no more. What it has never known may be another service's: it is kept.
    pub(super) fn abandon(&mut self) -> Kept {
        if self.is_known {
            self.discard();
        }
        self.kept()
    }

    /// What is kept for the next call. An empty file is not.
    pub(super) fn kept(&mut self) -> Kept {
        if self.length() == 0 {
            self.discard();
        }
        Kept(
            self.begun
                .as_ref()
                .map(|begun| (begun.path.clone(), begun.length)),
        )
    }
}

impl Begun {
    fn open(path: PathBuf, sha256: &str, mode: Option<u32>) -> io::Result<Self> {
        let not_ours = || {
            let part = path.display();
            io::Error::other(format!(
                "{part} is a link, or somebody else's: remove it, or choose another directory"
            ))
        };
        let mut options = File::options();
        options
            .read(true)
            .append(true)
            .mode(mode.unwrap_or(0o666))
            .custom_flags(OFlag::O_NOFOLLOW.bits());
        let file = match options.create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = options.create_new(false).open(&path);
                let file = file.map_err(|error| match error.raw_os_error() {
                    Some(code) if code == Errno::ELOOP as i32 => not_ours(),
                    _ => error,
                })?;
                // In a directory that others can write to, they may have put something else in its place.
                let metadata = file.metadata()?;
                let is_ours = metadata.is_file() && metadata.nlink() == 1;
                if !is_ours || metadata.uid() != geteuid().as_raw() {
                    return Err(not_ours());
                }
                file
            }
            // Ours, whatever owner the file system shows.
            created => created?,
        };
        output::set_mode(&file, mode)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("it is being fetched already"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self {
            sha256: sha256.to_owned(),
            path,
            file,
            length: 0,
            hasher: Sha256::new(),
        })
    }

    /// Reads what is in it already.
    fn read(&mut self) -> io::Result<()> {
        let mut piece = vec![0; super::PIECE];
        loop {
            match self.file.read(&mut piece)? {
                0 => return Ok(()),
                read => {
                    self.hasher.update(&piece[..read]);
                    self.length += read as u64;
                }
            }
        }
    }

    fn empty(&mut self) -> io::Result<()> {
        self.length = 0;
        self.hasher = Sha256::new();
        self.file.set_len(0)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }
}
