//! Linker arguments of a Python module, which macOS needs to leave Python's symbols undefined.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
