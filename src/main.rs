//! The thin binary: parse, crypto provider, runtime, run, exit code.

use pullgate::cli::{Cli, report_error};
use std::process::ExitCode;

/// Gives memory back to the system soon, whichever thread it was for: a burst of large reviews leaves nothing behind.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::read();
    // Named once for all: whichever features the libraries were built with, there is one provider, and it is this.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return report_error("a crypto provider was installed before ours");
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli.run());
            // A process that was told to stop does not wait for a helper program that a kubeconfig started.
            runtime.shutdown_background();
            code
        }
        Err(error) => report_error(&format!("the runtime could not be started: {error}")),
    }
}
