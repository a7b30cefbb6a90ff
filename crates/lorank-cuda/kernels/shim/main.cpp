// Runs kernels on the host: reads launches with the memory that they work on from standard input, and writes the memory
// back. The other side is `src/tests/shim.rs`.

#include "kernels.h"

#include <map>
#include <string>
#include <tuple>

struct Argument {
    View view;
    void *pointer;
    int integer;
    float number;
};

template <class T> T taken(const Argument &argument) { return (T)argument.pointer; }
template <> View taken<View>(const Argument &argument) { return argument.view; }
template <> int taken<int>(const Argument &argument) { return argument.integer; }
template <> float taken<float>(const Argument &argument) { return argument.number; }

using Arguments = std::vector<Argument>;

template <class... T, size_t... N>
void call(void (*kernel)(T...), const Arguments &arguments, std::index_sequence<N...>) {
    kernel(taken<T>(arguments[N])...);
}

template <class... T> std::function<void(const Arguments &)> of(void (*kernel)(T...)) {
    return [=](const Arguments &arguments) {
        if (arguments.size() != sizeof...(T)) std::fprintf(stderr, "another number of arguments\n"), std::abort();
        call(kernel, arguments, std::index_sequence_for<T...>());
    };
}

#define KERNEL(name) {#name, of(name)},
static const std::map<std::string, std::function<void(const Arguments &)>> kernels = {EACH_KERNEL(KERNEL)};

static void read_bytes(void *to, size_t n) {
    if (std::fread(to, 1, n, stdin) != n) std::exit(std::feof(stdin) ? 0 : 1);
}

template <class T> static T read_one() {
    T value;
    read_bytes(&value, sizeof value);
    return value;
}

int main() {
    for (;;) {
        std::string name(read_one<u32>(), ' ');
        read_bytes(name.data(), name.size());
        u32 n_blocks = read_one<u32>(), n_threads = read_one<u32>(), n_shared = read_one<u32>();
        // Of exact sizes, so that AddressSanitizer sees what leaves them.
        std::vector<std::pair<char *, size_t>> regions(read_one<u32>());
        for (auto &[bytes, size] : regions) {
            size = read_one<unsigned long long>();
            bytes = (char *)std::aligned_alloc(256, size);
            read_bytes(bytes, size);
        }
        auto pointer = [&]() -> char * {
            int region = read_one<int>();
            auto offset = read_one<unsigned long long>();
            return region < 0 ? nullptr : regions[region].first + offset;
        };
        Arguments arguments(read_one<u32>());
        for (Argument &argument : arguments) {
            switch (read_one<char>()) {
            case 'v':
                argument.view.data = pointer();
                argument.view.stride = read_one<long long>();
                argument.view.format = read_one<int>();
                argument.view.is_aligned = read_one<int>();
                break;
            case 'p': argument.pointer = pointer(); break;
            case 'i': argument.integer = read_one<int>(); break;
            default: argument.number = read_one<float>();
            }
        }
        auto kernel = kernels.find(name);
        if (kernel == kernels.end()) std::fprintf(stderr, "no kernel %s\n", name.c_str()), std::abort();
        shim::launch(n_blocks, n_threads, n_shared, [&] { kernel->second(arguments); });
        for (auto &[bytes, size] : regions) {
            std::fwrite(bytes, 1, size, stdout);
            std::free(bytes);
        }
        std::fflush(stdout);
    }
}
