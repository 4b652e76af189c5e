//! `pullgate schema`: JSON Schemas for editors and validators, and the CRD.

use super::print;
use crate::config;
use crate::policy::schema::{crd, json_schema, test_schema};
use crate::report;
use anyhow::Context as _;
use clap::ValueEnum;
use std::process::ExitCode;

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The format
    #[arg(value_enum)]
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// A policy file (kind: `ImagePolicy`)
    Policy,
    /// A policy test (kind: `ImagePolicyTest`)
    PolicyTest,
    /// The settings file
    Config,
    /// The report of `check -o json`
    Report,
    /// Not a schema: the `CustomResourceDefinition` of `ImagePolicy`
    Crd,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let value = match args.what {
        What::Policy => json_schema(),
        What::PolicyTest => test_schema(),
        What::Config => config::schema(),
        What::Report => report::json::schema(),
        What::Crd => {
            print(&manifest()?)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let text = serde_json::to_string_pretty(&value).context("the schema cannot be written")?;
    print(&(text + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The CRD as a manifest.
fn manifest() -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(&crd()).context("the manifest cannot be written")?;
    Ok(format!(
        "# Generated from src/policy/model.rs; a test fails when it is outdated.\n{text}"
    ))
}
