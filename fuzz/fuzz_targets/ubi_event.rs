//! Events of User Behavior Insights.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lorank_experiments::fuzzing::read_events(bytes);
});
