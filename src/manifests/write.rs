//! Replaces a file's text atomically: readers see the old text or the new one, never a part.

use crate::files;
use crate::limits;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Replaces the text of a file, if it is still `before`. A link stays a link: the file that it leads to is replaced. The mode is
/// kept and, if allowed, the owner.
///
/// # Errors
/// A clause that says why the file was not changed.
pub fn replace(path: &Path, before: &str, after: &str) -> Result<(), String> {
    let path = fs::canonicalize(path).map_err(|error| error.to_string())?;
    // A file that may not be written is not replaced either, even if its folder would allow it.
    let old = OpenOptions::new().read(true).write(true).open(&path);
    let about = old.and_then(|file| file.metadata()).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let now = files::read(&path, limits::MANIFEST_FILE).map_err(|error| error.to_string())?;
    if now != before.as_bytes() {
        return Err("somebody else has changed it in the meantime".to_owned());
    }
    let (temporary, file) = create_temporary(&path).map_err(|error| format!("no file can be created next to it: {error}"))?;
    let written = fill(&file, after, &about).and_then(|()| fs::rename(&temporary, &path));
    written.map_err(|error| {
        // The temporary file is no longer needed.
        let _ = fs::remove_file(&temporary);
        error.to_string()
    })
}

/// A new file in the same folder, readable only by its owner for now.
fn create_temporary(path: &Path) -> io::Result<(PathBuf, File)> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A name may be as long as the file system allows.
    let name: String = name.chars().take(40).collect();
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for attempt in 0..16 {
        let temporary = path.with_file_name(format!(".{name}.{}-{attempt}.pullgate", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn fill(mut file: &File, text: &str, like: &fs::Metadata) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        // Only root can give files away; otherwise the file gets its writer as owner, as with any editor.
        let _ = std::os::unix::fs::fchown(file, Some(like.uid()), Some(like.gid()));
    }
    file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_behind_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        let (file, link) = (below.join("a.yaml"), folder.path().join("link.yaml"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        symlink("below/a.yaml", &link).unwrap();
        replace(&link, "old", "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(&below), ["a.yaml"]);
    }

    #[test]
    fn what_changed_meanwhile_or_is_no_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "theirs").unwrap();
        let why = replace(&file, "old", "new").unwrap_err();
        assert_eq!(why, "somebody else has changed it in the meantime");
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
        assert_eq!(names(folder.path()), ["a.yaml"]);
        assert_eq!(
            replace(Path::new("/dev/null"), "", "new").unwrap_err(),
            "it is not a regular file"
        );
        assert!(replace(&folder.path().join("gone"), "", "new").is_err());
    }

    #[test]
    fn a_long_name_leaves_room_for_the_file_beside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(format!("{}.yaml", "é".repeat(120)));
        fs::write(&file, "old").unwrap();
        replace(&file, "old", "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }
}
