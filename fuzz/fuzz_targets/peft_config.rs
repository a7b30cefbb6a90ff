//! An adapter's `adapter_config.json`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // libFuzzer's hook ends the process at any panic, but those of the library for regular expressions are caught. One that is
        // not caught ends the target all the same.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    },
    |bytes: &[u8]| {
        lorank_model::fuzzing::read_peft_config(bytes);
    }
);
