//! Metrics of the process itself, under the names that Prometheus' client libraries use (`process_*`), read at every scrape.
//! Without `/proc`, those that come from it are missing.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::process::Resource;
use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Metrics of the process.
#[derive(Debug)]
pub(super) struct Process {
    /// Unix time, in seconds.
    began: f64,
}

impl Process {
    /// Metrics are created first thing: this counts as the start of the process.
    pub(super) fn begin() -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            began: began.as_secs_f64(),
        }
    }
}

/// From `/proc/self/stat` (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// In user and kernel mode, in clock ticks.
    ticks: u64,
    /// In bytes.
    virtual_memory: u64,
    /// In pages.
    resident: u64,
}

impl Stat {
    /// Fields are counted from after the program's name, which may contain spaces and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // The manual counts from 1, and the first field here is its third.
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self {
            ticks: field(14)?.saturating_add(field(15)?),
            virtual_memory: field(23)?,
            resident: field(24)?,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        gauge(
            &mut out,
            "process_start_time",
            "Start time of the process (Unix time)",
            Some(&Unit::Seconds),
            self.began,
        )?;
        if let Some(stat) = std::fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|text| Stat::parse(&text))
        {
            let page = u64::try_from(rustix::param::page_size()).unwrap_or_default();
            let resident = stat.resident.saturating_mul(page);
            let per_second = rustix::param::clock_ticks_per_second().max(1);
            cpu(&mut out, number(stat.ticks) / number(per_second))?;
            let bytes = Some(&Unit::Bytes);
            gauge(&mut out, "process_resident_memory", "Memory in use", bytes, number(resident))?;
            gauge(
                &mut out,
                "process_virtual_memory",
                "Address space in use",
                bytes,
                number(stat.virtual_memory),
            )?;
        }
        if let Some(open) = open_files() {
            gauge(&mut out, "process_open_fds", "Open file descriptors", None, number(open))?;
        }
        if let Some(most) = rustix::process::getrlimit(Resource::Nofile).current {
            gauge(
                &mut out,
                "process_max_fds",
                "Limit of open file descriptors",
                None,
                number(most),
            )?;
        }
        Ok(())
    }
}

/// Without the descriptor that this count itself opens.
fn open_files() -> Option<u64> {
    let entries = std::fs::read_dir(Path::new("/proc/self/fd")).ok()?;
    u64::try_from(entries.count()).ok().map(|count| count.saturating_sub(1))
}

fn cpu(out: &mut DescriptorEncoder<'_>, seconds: f64) -> fmt::Result {
    use prometheus_client::metrics::MetricType;
    let help = "Processor time used, in user and kernel mode";
    let metric = out.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
    ConstCounter::new(seconds).encode(metric)
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> fmt::Result {
    use prometheus_client::metrics::MetricType;
    let metric = out.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}

/// Prometheus numbers are floats; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "that is what a sample is")]
fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_may_hold_anything() {
        let text = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 4 0 999 1048576 256 18446744073709551615 1";
        let expected = Stat {
            ticks: 42,
            virtual_memory: 1_048_576,
            resident: 256,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }
}
