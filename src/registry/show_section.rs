//! The sections in which `config show` prints how nodes reach their registries.

use crate::image::{Reference, escape};

/// An image, as a pod names it.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// As it is written.
    pub written: &'a str,
    /// What that is.
    pub reference: &'a Reference,
}

/// What nodes have for some registries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// What it is about: a registry, short names, credentials.
    pub title: String,
    /// `FILE:LINE`, where one says it.
    pub at: Option<String>,
    /// In their order.
    pub rows: Vec<Row>,
}

/// A place that is asked, or a remark.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// One line of text.
    pub text: String,
    /// `FILE:LINE`, where one says it.
    pub at: Option<String>,
    /// What is asked for an image there, where the row is about one: URLs, of which the node takes one.
    pub asks: Vec<String>,
    /// Whose credential is shown there, where the row is about one image.
    pub credential: Option<String>,
}

impl Section {
    pub(super) fn new(title: impl Into<String>, at: Option<String>) -> Self {
        Self {
            title: title.into(),
            at,
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, text: impl Into<String>, at: Option<String>) {
        self.rows.push(Row {
            text: text.into(),
            at,
            ..Row::default()
        });
    }

    /// A place that is asked for an image.
    pub(super) fn asks(&mut self, asks: Vec<String>, notes: &str, credential: String, at: Option<String>) {
        let number = self.rows.iter().filter(|row| !row.asks.is_empty()).count() + 1;
        let all: Vec<String> = asks.iter().map(|url| escape(url)).collect();
        self.rows.push(Row {
            text: format!("{number}. {}{notes}; credential: {credential}", all.join(" or ")),
            at,
            asks,
            credential: Some(credential),
        });
    }

    pub(super) fn with(mut self, text: impl Into<String>) -> Self {
        self.row(text, None);
        self
    }
}

/// `FILE:LINE`.
pub(super) fn place(file: impl std::fmt::Display, line: usize) -> String {
    if line == 0 {
        file.to_string()
    } else {
        format!("{file}:{line}")
    }
}
