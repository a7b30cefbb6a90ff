// CUDA on the host, for tests: each thread of a block is a thread of the system, blocks run one after another. It is
// slow, and shows whether results are right, whether a read or write leaves its memory (AddressSanitizer), and whether
// two threads race (ThreadSanitizer). Copies to shared memory take place as late as they may, so that a missing wait is
// seen, or with EARLY_COPIES as early as they may, so that a race with those who still read is seen.

#pragma once

#include <pthread.h>

#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#define SHIM
#define __device__
#define __global__
#define __launch_bounds__(threads)
#define __shared__ static
#define DYNAMIC_SHARED(type, name) type *name = (type *)shim::block->shared

struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct Dimension { int x; };

inline thread_local Dimension threadIdx, blockIdx, blockDim;

namespace shim {

// A shuffle or a product of matrices: what a lane gives to the others of its warp.
struct Slot {
    unsigned words[6];
    const unsigned short *row;
};

struct Warp {
    pthread_barrier_t barrier;
    // Two sets in turn: no lane is ahead of another by more than one exchange.
    Slot slots[2][32];
};

struct Block {
    pthread_barrier_t barrier;
    std::vector<Warp> warps;
    char *shared;
};

struct Copy {
    void *to;
    const void *from;

    void run() const {
        if (from) std::memcpy(to, from, 16);
        else std::memset(to, 0, 16);
    }
};

inline Block *block;
inline thread_local int turn;
inline thread_local std::deque<std::vector<Copy>> groups;
inline thread_local std::vector<Copy> group;

inline void wait(pthread_barrier_t &barrier) { pthread_barrier_wait(&barrier); }

inline int lane() { return threadIdx.x % 32; }

// Gives a slot to the other lanes, and returns those of all lanes.
inline const Slot *exchange(const Slot &slot) {
    Warp &warp = block->warps[threadIdx.x / 32];
    Slot *slots = warp.slots[turn];
    turn ^= 1;
    slots[lane()] = slot;
    wait(warp.barrier);
    return slots;
}

// The threads of all launches: to start them takes longer than most kernels.
class Pool {
  public:
    // Runs a function in threads 0 to n - 1, and waits for it.
    void run(int n, const std::function<void(int)> &function) {
        std::unique_lock<std::mutex> lock(mutex);
        for (int thread = threads.size(); thread < n; thread++)
            threads.emplace_back([this, thread, before = turn] { work(thread, before); });
        job = &function, n_threads = n_running = n;
        turn++;
        started.notify_all();
        ended.wait(lock, [&] { return n_running == 0; });
    }

    ~Pool() {
        {
            std::lock_guard<std::mutex> lock(mutex);
            job = nullptr, n_threads = threads.size();
            turn++;
        }
        started.notify_all();
        for (std::thread &thread : threads) thread.join();
    }

  private:
    void work(int thread, long done) {
        for (;;) {
            const std::function<void(int)> *function;
            {
                std::unique_lock<std::mutex> lock(mutex);
                started.wait(lock, [&] { return turn != done; });
                done = turn;
                if (thread >= n_threads) continue;
                if (!job) return;
                function = job;
            }
            (*function)(thread);
            std::lock_guard<std::mutex> lock(mutex);
            if (--n_running == 0) ended.notify_one();
        }
    }

    std::mutex mutex;
    std::condition_variable started, ended;
    std::vector<std::thread> threads;
    const std::function<void(int)> *job = nullptr;
    int n_threads = 0, n_running = 0;
    long turn = 0;
};

// Runs all blocks of a kernel.
inline void launch(int n_blocks, int n_threads, size_t n_shared, const std::function<void()> &kernel) {
    static Pool pool;
    Block all{};
    all.warps = std::vector<Warp>(n_threads / 32);
    pthread_barrier_init(&all.barrier, nullptr, n_threads);
    for (Warp &warp : all.warps) pthread_barrier_init(&warp.barrier, nullptr, 32);
    all.shared = (char *)std::aligned_alloc(128, (n_shared + 127) / 128 * 128 + 128);
    block = &all;
    pool.run(n_threads, [&](int thread) {
        shim::turn = 0;
        for (int n = 0; n < n_blocks; n++) {
            threadIdx = {thread}, blockIdx = {n}, blockDim = {n_threads};
            // No number is taken for one that a block before has left.
            if (thread == 0) std::memset(block->shared, 0xff, n_shared);
            wait(block->barrier);
            kernel();
            groups.clear(), group.clear();
            wait(block->barrier);
        }
    });
    pthread_barrier_destroy(&all.barrier);
    for (Warp &warp : all.warps) pthread_barrier_destroy(&warp.barrier);
    std::free(all.shared);
}

inline float half_word(unsigned word, int half) {
    unsigned bits = (half ? word >> 16 : word & 0xffff) << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

} // namespace shim

inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

inline int max(int a, int b) { return a > b ? a : b; }
inline int min(int a, int b) { return a < b ? a : b; }

inline void __syncthreads() { shim::wait(shim::block->barrier); }
inline void __syncwarp() { shim::wait(shim::block->warps[threadIdx.x / 32].barrier); }

inline float __shfl_sync(unsigned, float x, int lane) {
    return __uint_as_float(shim::exchange({{__float_as_uint(x)}, nullptr})[lane].words[0]);
}

inline float __shfl_xor_sync(unsigned mask, float x, int lanes) { return __shfl_sync(mask, x, shim::lane() ^ lanes); }

inline unsigned pack_bf16(float low, float high) {
    unsigned words[2] = {__float_as_uint(low), __float_as_uint(high)};
    for (unsigned &bits : words) bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return words[0] | words[1] << 16;
}

// In the layouts of the PTX manual: row r of `a` is in lanes 4 (r % 8) to 4 (r % 8) + 3, column n of `b` in lanes 4 n
// to 4 n + 3.
inline void mma_bf16(float c[4], const unsigned a[4], unsigned b0, unsigned b1) {
    const shim::Slot *slots = shim::exchange({{a[0], a[1], a[2], a[3], b0, b1}, nullptr});
    for (int i = 0; i < 4; i++) {
        int row = shim::lane() / 4 + i / 2 * 8, column = shim::lane() % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) {
            int of_pair = k % 8 / 2, word = (row >= 8) + (k >= 8) * 2;
            float x = shim::half_word(slots[row % 8 * 4 + of_pair].words[word], k % 2);
            c[i] += x * shim::half_word(slots[column * 4 + of_pair].words[4 + (k >= 8)], k % 2);
        }
    }
}

inline void load_any_matrices(unsigned to[4], const unsigned short *row, bool is_transposed) {
    if ((size_t)row % 16 != 0) std::fprintf(stderr, "a matrix row is not aligned\n"), std::abort();
    const shim::Slot *slots = shim::exchange({{}, row});
    for (int i = 0; i < 4; i++) {
        unsigned halves[2];
        for (int half = 0; half < 2; half++) {
            int major = shim::lane() / 4, minor = shim::lane() % 4 * 2 + half;
            halves[half] = is_transposed ? slots[8 * i + minor].row[major] : slots[8 * i + major].row[minor];
        }
        to[i] = halves[0] | halves[1] << 16;
    }
}

inline void load_matrices(unsigned to[4], const unsigned short *row) { load_any_matrices(to, row, false); }
inline void load_transposed(unsigned to[4], const unsigned short *row) { load_any_matrices(to, row, true); }

inline void copy_async(unsigned short *to, const void *from, bool is_there) {
    if ((size_t)to % 16 != 0 || (size_t)from % 16 != 0) std::fprintf(stderr, "a copy is not aligned\n"), std::abort();
    shim::Copy copy = {to, is_there ? from : nullptr};
#ifdef EARLY_COPIES
    copy.run();
#else
    shim::group.push_back(copy);
#endif
}

inline void end_group() {
    shim::groups.push_back(std::move(shim::group));
    shim::group.clear();
}

template <int N> void wait_groups() {
    while (shim::groups.size() > N) {
        for (const shim::Copy &copy : shim::groups.front()) copy.run();
        shim::groups.pop_front();
    }
}
