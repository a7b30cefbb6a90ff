//! Progress on standard error. Nothing is drawn if it is not a terminal, or with `--quiet`.

use std::borrow::Cow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A counter with a rate, for an unknown total.
pub(crate) fn counter(what: &'static str, is_quiet: bool) -> ProgressBar {
    bar(None, &format!("{{spinner}} {{human_pos}} {what} ({{per_sec}}) {{wide_msg}}"), is_quiet)
}

/// A progress bar for a known total.
pub(crate) fn of(total: u64, what: &'static str, is_quiet: bool) -> ProgressBar {
    bar(Some(total), &format!("{{bar:30}} {{human_pos}} of {{human_len}} {what} ({{per_sec}}, {{eta}} left)"), is_quiet)
}

/// A progress bar for bytes, with a message.
pub(crate) fn bytes(total: u64, is_quiet: bool) -> ProgressBar {
    bar(Some(total), "{bar:30} {percent:>3} % of {total_bytes} {wide_msg}", is_quiet)
}

/// A spinner for work of unknown length.
pub(crate) fn spinner(message: impl Into<Cow<'static, str>>, is_quiet: bool) -> ProgressBar {
    let bar = bar(None, "{spinner} {wide_msg}", is_quiet).with_message(message);
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

fn bar(total: Option<u64>, template: &str, is_quiet: bool) -> ProgressBar {
    // The draw target hides itself if standard error is not a terminal.
    let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
    let style = ProgressStyle::with_template(template).expect("the templates above are well formed");
    ProgressBar::with_draw_target(total, target).with_style(style)
}
