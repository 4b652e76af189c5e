//! The program itself.

use std::process::Command;

/// `pullgate`, without what this machine's own settings say to it.
pub(crate) fn pullgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pullgate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PULLGATE_") {
            command.env_remove(name);
        }
    }
    command
}
