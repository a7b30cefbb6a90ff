// A libcuda of one simulated GPU, whose memory is that of the host and whose kernels are those of the shim: so all of
// `Gpu` runs without a GPU. As on a GPU, operations of a stream run later than their calls: when something waits for
// them.
//
// It has the functions that lorank-cuda calls, with the declarations of CUDA's driver API reduced to what this needs.

#include "kernels.h"

#include <chrono>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>

enum Result {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_CONTEXT = 201, NOT_FOUND = 500,
};

using Operation = std::function<void()>;

static std::mutex mutex;
// Of the one stream.
static std::deque<Operation> started;
static std::unordered_map<void *, size_t> allocations;
static size_t n_allocated;
// `SIMULATE_MEMORY` is the memory of a smaller GPU, in bytes: a model is warmed up with as many tokens as fit.
static const size_t TOTAL = std::getenv("SIMULATE_MEMORY") ? std::strtoull(std::getenv("SIMULATE_MEMORY"), nullptr, 10) : size_t(1) << 30;
static int context_of_device;
static thread_local void *current;

// The simulated cublasLt, too, puts its operations here.
extern "C" void simulated_start(Operation operation) {
    std::lock_guard<std::mutex> lock(mutex);
    started.push_back(std::move(operation));
}

// Whether all bytes are those of one allocation.
extern "C" bool simulated_is_allocated(const void *start, size_t n_bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    for (auto &[begin, size] : allocations)
        if ((const char *)start >= (char *)begin && (const char *)start + n_bytes <= (char *)begin + size) return true;
    return false;
}

static void wait_for_all() {
    static std::mutex running;
    std::lock_guard<std::mutex> one(running);
    for (;;) {
        Operation next;
        {
            std::lock_guard<std::mutex> lock(mutex);
            if (started.empty()) return;
            next = std::move(started.front());
            started.pop_front();
        }
        next();
    }
}

static void fail(const char *what) {
    std::fprintf(stderr, "simulated driver: %s\n", what);
    std::abort();
}

#define NEEDS_CONTEXT if (current != &context_of_device) return INVALID_CONTEXT

// A launch with the values that its parameters have now.
template <class... T, size_t... N>
Operation bound(void (*kernel)(T...), void **parameters, std::index_sequence<N...>) {
    std::tuple<T...> values{*(T *)parameters[N]...};
    return [=] { std::apply(kernel, values); };
}

template <class... T> std::function<Operation(void **)> binder(void (*kernel)(T...)) {
    return [=](void **parameters) { return bound(kernel, parameters, std::index_sequence_for<T...>()); };
}

struct Function {
    std::function<Operation(void **)> bind;
    int n_shared_max = 48 << 10;
};

#define FUNCTION(name) {#name, {binder(name)}},
static std::map<std::string, Function> functions = {EACH_KERNEL(FUNCTION)};

struct Event {
    std::chrono::steady_clock::time_point time;
};

struct Copy2D {
    size_t from_x, from_y;
    int from_type;
    const char *from_host;
    char *from_device;
    void *from_array;
    size_t from_pitch, to_x, to_y;
    int to_type;
    char *to_host;
    char *to_device;
    void *to_array;
    size_t to_pitch, width, height;
};

extern "C" {

Result cuInit(unsigned) { return SUCCESS; }
// NVRTC asks for tables of its tools, of which there are none.
Result cuGetExportTable(const void **table, const void *) { return *table = nullptr, NOT_FOUND; }

Result cuDriverGetVersion(int *version) { return *version = 12090, SUCCESS; }
Result cuDeviceGetCount(int *n) { return *n = 1, SUCCESS; }
Result cuDeviceGet(int *device, int ordinal) { return *device = ordinal, ordinal == 0 ? SUCCESS : NO_DEVICE; }

Result cuDeviceGetName(char *name, int size, int) { return std::snprintf(name, size, "simulated GPU"), SUCCESS; }

Result cuDeviceGetAttribute(int *value, int attribute, int) {
    // The compute capability is 9.0.
    return *value = attribute == 75 ? 9 : 0, SUCCESS;
}

Result cuDevicePrimaryCtxRetain(void **context, int) { return *context = &context_of_device, SUCCESS; }
Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
Result cuCtxSetCurrent(void *context) { return current = context, SUCCESS; }
Result cuCtxGetCurrent(void **context) { return *context = current, SUCCESS; }
Result cuCtxSynchronize() { return wait_for_all(), SUCCESS; }

Result cuStreamCreate(void **stream, unsigned) { return *stream = new int, SUCCESS; }
Result cuStreamSynchronize(void *) { return wait_for_all(), SUCCESS; }
Result cuStreamDestroy_v2(void *stream) { return delete (int *)stream, SUCCESS; }

Result cuMemGetInfo_v2(size_t *free, size_t *total) {
    NEEDS_CONTEXT;
    std::lock_guard<std::mutex> lock(mutex);
    return *free = TOTAL - n_allocated, *total = TOTAL, SUCCESS;
}

Result cuMemAlloc_v2(void **address, size_t n_bytes) {
    NEEDS_CONTEXT;
    std::lock_guard<std::mutex> lock(mutex);
    if (n_allocated + n_bytes > TOTAL) return OUT_OF_MEMORY;
    *address = std::aligned_alloc(256, (n_bytes + 255) / 256 * 256);
    std::memset(*address, 0xff, n_bytes);
    allocations[*address] = n_bytes;
    n_allocated += n_bytes;
    return SUCCESS;
}

Result cuMemFree_v2(void *address) {
    {
        std::lock_guard<std::mutex> lock(mutex);
        if (!started.empty()) fail("memory is freed that operations may use");
        auto found = allocations.find(address);
        if (found == allocations.end()) fail("memory is freed that is not allocated");
        n_allocated -= found->second;
        allocations.erase(found);
    }
    return std::free(address), SUCCESS;
}

Result cuMemHostAlloc(void **address, size_t n_bytes, unsigned) {
    NEEDS_CONTEXT;
    return *address = std::malloc(n_bytes), SUCCESS;
}

Result cuMemFreeHost(void *address) { return std::free(address), SUCCESS; }

Result cuMemcpy2DAsync_v2(const Copy2D *copy, void *) {
    NEEDS_CONTEXT;
    const bool to_device = copy->to_type == 2;
    const char *device = to_device ? copy->to_device : copy->from_device;
    const size_t pitch = to_device ? copy->to_pitch : copy->from_pitch;
    if (copy->width > copy->from_pitch || copy->width > copy->to_pitch) return INVALID_VALUE;
    if (!simulated_is_allocated(device, (copy->height - 1) * pitch + copy->width)) return INVALID_VALUE;
    simulated_start([copy = *copy, to_device] {
        const char *from = to_device ? copy.from_host : copy.from_device;
        char *to = to_device ? copy.to_device : copy.to_host;
        for (size_t row = 0; row < copy.height; row++)
            std::memcpy(to + row * copy.to_pitch, from + row * copy.from_pitch, copy.width);
    });
    return SUCCESS;
}

Result cuModuleLoadData(void **module, const char *code) {
    NEEDS_CONTEXT;
    return *module = new int, std::memcmp(code, "\177ELF", 4) == 0 ? SUCCESS : INVALID_VALUE;
}

Result cuModuleUnload(void *module) { return delete (int *)module, SUCCESS; }

Result cuModuleGetFunction(void **function, void *, const char *name) {
    auto found = functions.find(name);
    return *function = &found->second, found == functions.end() ? NOT_FOUND : SUCCESS;
}

Result cuFuncSetAttribute(void *function, int attribute, int value) {
    NEEDS_CONTEXT;
    if (attribute != 8) return INVALID_VALUE;
    return ((Function *)function)->n_shared_max = value, SUCCESS;
}

Result cuLaunchKernel(
    void *function, unsigned n_blocks, unsigned, unsigned, unsigned n_threads, unsigned, unsigned, unsigned n_shared,
    void *, void **parameters, void **
) {
    NEEDS_CONTEXT;
    Function *kernel = (Function *)function;
    if ((int)n_shared > kernel->n_shared_max || n_threads % 32 != 0 || n_blocks == 0) return INVALID_VALUE;
    simulated_start([=, run = kernel->bind(parameters)] { shim::launch(n_blocks, n_threads, n_shared, run); });
    return SUCCESS;
}

Result cuEventCreate(void **event, unsigned) { return *event = new Event, SUCCESS; }

Result cuEventRecord(void *event, void *) {
    simulated_start([=] { ((Event *)event)->time = std::chrono::steady_clock::now(); });
    return SUCCESS;
}

Result cuEventSynchronize(void *) { return wait_for_all(), SUCCESS; }

Result cuEventElapsedTime_v2(float *millis, void *start, void *end) {
    std::chrono::duration<float, std::milli> time = ((Event *)end)->time - ((Event *)start)->time;
    return *millis = time.count(), SUCCESS;
}

Result cuEventElapsedTime(float *millis, void *start, void *end) { return cuEventElapsedTime_v2(millis, start, end); }

Result cuEventDestroy_v2(void *event) { return wait_for_all(), delete (Event *)event, SUCCESS; }
}
