// Runs convolutions on the CPU, block after block, with what their results depend on: the threads of a block as fibers, shared memory,
// barriers, and the operations of a whole warp (shuffles, ldmatrix, mma.sync) lane by lane with the fragment layouts of the PTX
// manual. A fiber runs until it waits for others. Every access to shared memory is checked: inside the launch's bytes, aligned,
// written before it is read, and no two threads at one word between two barriers unless both read. What differs between two
// orders of threads and blocks is a race as well. Every access to global memory is aligned and inside a tensor of the launch.
#undef _FORTIFY_SOURCE // whose longjmp forbids fibers
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <vector>

#define DEVICE static inline
#define MEMBER inline
#define BOTH
#define UNROLL(n)

typedef unsigned short bf16;

namespace emulator {

constexpr unsigned COUNT = 256, LANES = 32, WARPS = COUNT / LANES, STACK = 128 * 1024, MOST_SHARED = 227 * 1024;

// How threads take turns. ASCENDING: each warp as far as it gets, copies at once. DESCENDING: blocks and threads from the last,
// warps in lockstep, asynchronous copies as late as allowed. SHUFFLED: a random thread at each step, copies late.
enum Order { ASCENDING, DESCENDING, SHUFFLED };

struct Copy { unsigned at, group; bool inside; unsigned char bytes[16]; };
struct Fiber {
    jmp_buf at;
    ucontext_t start;
    bool started, done;
    const unsigned *waits_for; // a generation, and which
    unsigned generation, group;
    std::vector<Copy> copies;
};
struct Warp { void *operands[LANES]; const char *operation; unsigned arrived, generation; };
struct Word { unsigned written, read; short writer, reader; }; // when and by whom; reader -2: several

struct Range { unsigned long from, bytes; }; // of a tensor

static Fiber fibers[COUNT];
static char stacks[COUNT][STACK];
static Warp warps[WARPS];
static jmp_buf scheduler;
static unsigned current, block_x, block_y, grid_x, grid_y, arrived, epoch, shared_size;
alignas(128) static unsigned char shared[MOST_SHARED];
static Word words[MOST_SHARED / 4];
static Order order;
static const Range *ranges;
static unsigned range_count;
static jmp_buf failed;
static char failure[200];

[[noreturn]] static void fail(const char *what, unsigned long at = 0) {
    snprintf(failure, sizeof failure, "%s (at %lu, block %u,%u thread %u)", what, at, block_x, block_y, current);
    _longjmp(failed, 1);
}

static void pause_until_not(const unsigned *generation) {
    Fiber &fiber = fibers[current];
    fiber.waits_for = generation;
    fiber.generation = *generation;
    if (!_setjmp(fiber.at)) _longjmp(scheduler, 1);
}

static void barrier() {
    if (++arrived == COUNT) {
        arrived = 0;
        epoch++;
    } else {
        pause_until_not(&epoch);
    }
}

// All lanes of a warp bring operands; the last to come computes for all.
template <class Operands> void together(Operands &operands) {
    Warp &warp = warps[current / LANES];
    if (warp.arrived && warp.operation != Operands::NAME) fail("lanes of a warp differ in what they do");
    warp.operation = Operands::NAME;
    warp.operands[current % LANES] = &operands;
    if (++warp.arrived == LANES) {
        Operands::run((Operands **)warp.operands);
        warp.arrived = 0;
        warp.generation++;
    } else {
        pause_until_not(&warp.generation);
    }
}

static void check(unsigned at, unsigned bytes) {
    if (at % bytes) fail("not aligned in shared memory", at);
    if (at + bytes > shared_size) fail("outside of shared memory", at);
}
static void note_read(unsigned at, unsigned bytes, unsigned reader) {
    check(at, bytes);
    for (Word *word = words + at / 4; word < words + (at + bytes) / 4; word++) {
        if (word->writer == -1) fail("read of shared memory that nobody wrote", at);
        if (word->written == epoch && word->writer != (short)reader) fail("a race: read while another thread writes", at);
        word->reader = word->read == epoch && word->reader != (short)reader ? -2 : (short)reader;
        word->read = epoch;
    }
}
static void note_write(unsigned at, unsigned bytes) {
    check(at, bytes);
    for (Word *word = words + at / 4; word < words + (at + bytes) / 4; word++) {
        if (word->writer != -1 && word->written == epoch && word->writer != (short)current) fail("a race: two threads write", at);
        if (word->read == epoch && word->reader != (short)current) fail("a race: write while another thread reads", at);
        word->writer = (short)current;
        word->written = epoch;
    }
}

template <class T> T read_shared(unsigned at) {
    note_read(at, sizeof(T), current);
    T value;
    memcpy(&value, shared + at, sizeof(T));
    return value;
}
template <class T> void write_shared(unsigned at, T value) {
    note_write(at, sizeof(T));
    memcpy(shared + at, &value, sizeof(T));
}

static void complete(Fiber &fiber, unsigned groups_left) {
    size_t kept = 0;
    for (Copy &copy : fiber.copies) {
        if (copy.group + groups_left < fiber.group) {
            note_write(copy.at, 16);
            memcpy(shared + copy.at, copy.bytes, 16);
        } else {
            fiber.copies[kept++] = copy;
        }
    }
    fiber.copies.resize(kept);
}

static void (*body)(const void *);
static const void *arguments;
static void begin() {
    body(arguments);
    if (!fibers[current].copies.empty()) fail("copies that nobody waited for");
    fibers[current].done = true;
    _longjmp(scheduler, 1);
}

static bool advance(unsigned thread) {
    Fiber &fiber = fibers[thread];
    if (fiber.done || (fiber.waits_for && *fiber.waits_for == fiber.generation)) return false;
    fiber.waits_for = nullptr;
    current = thread;
    if (!_setjmp(scheduler)) {
        if (fiber.started) _longjmp(fiber.at, 1);
        fiber.started = true;
        setcontext(&fiber.start);
    }
    return true;
}

static void run_block() {
    memset(shared, 0xff, shared_size);
    for (unsigned i = 0; i < (shared_size + 3) / 4; i++) words[i] = Word{0, 0, -1, -1};
    memset(warps, 0, sizeof warps);
    arrived = 0;
    epoch = 1;
    for (Fiber &fiber : fibers) {
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = stacks[&fiber - fibers];
        fiber.start.uc_stack.ss_size = STACK;
        makecontext(&fiber.start, begin, 0);
        fiber.started = fiber.done = false;
        fiber.waits_for = nullptr;
        fiber.group = 0;
        fiber.copies.clear();
    }
    static unsigned random = 12345;
    for (bool moved = true; moved;) {
        moved = false;
        if (order == SHUFFLED) random = random * 1664525 + 1013904223;
        for (unsigned w = 0; w < WARPS; w++) {
            const unsigned warp = order == ASCENDING ? w : order == DESCENDING ? WARPS - 1 - w : (w * 5 + random / 65536) % WARPS;
            for (bool further = true; further;) {
                further = false;
                for (unsigned l = 0; l < LANES; l++) {
                    const unsigned lane = order == ASCENDING ? l : order == DESCENDING ? LANES - 1 - l : (l * 13 + random / 4096) % LANES;
                    further |= advance(warp * LANES + lane);
                }
                moved |= further;
                if (order != ASCENDING) break;
            }
        }
    }
    for (Fiber &fiber : fibers) if (!fiber.done) fail("threads wait for each other for ever");
}

// What went wrong, or null.
template <class Body> const char *launch(unsigned x, unsigned y, unsigned bytes, Order in, const Body &thread) {
    if (_setjmp(failed)) return failure;
    if (bytes > MOST_SHARED) fail("more shared memory than there is", bytes);
    grid_x = x, grid_y = y, shared_size = bytes, order = in;
    body = [](const void *thread) { (*(const Body *)thread)(); };
    arguments = &thread;
    for (unsigned i = 0; i < x * y; i++) {
        const unsigned block = in == DESCENDING ? x * y - 1 - i : in == SHUFFLED ? (unsigned)((i * 7919ull + 17) % (x * y)) : i;
        if (in == SHUFFLED && (x * y) % 7919 == 0) fail("an unlucky grid");
        block_x = block % x, block_y = block / x;
        run_block();
    }
    return nullptr;
}

// Bytes of global memory that a thread touches.
static void touch(const void *at, unsigned bytes) {
    static unsigned last;
    const unsigned long from = (unsigned long)at;
    if (from % bytes) fail("not aligned in global memory", from);
    for (unsigned i = 0; i < range_count; i++) {
        const Range &range = ranges[(last + i) % range_count];
        if (from >= range.from && from + bytes <= range.from + range.bytes) {
            last = (last + i) % range_count;
            return;
        }
    }
    fail("outside of all tensors", from);
}

} // namespace emulator

struct alignas(16) Quad { unsigned at[4]; };

DEVICE unsigned thread_index() { return emulator::current; }
DEVICE unsigned block_index() { return emulator::block_x; }
DEVICE unsigned block_row() { return emulator::block_y; }
DEVICE unsigned blocks() { return emulator::grid_x; }
DEVICE void barrier() { emulator::barrier(); }
DEVICE void add_to(long long *sum, long long value) {
    emulator::touch(sum, sizeof *sum);
    *sum += value;
}

DEVICE float as_float(unsigned bits) { float value; memcpy(&value, &bits, 4); return value; }
DEVICE unsigned as_bits(float value) { unsigned bits; memcpy(&bits, &value, 4); return bits; }
DEVICE unsigned brain(float value) {
    const unsigned bits = as_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
DEVICE unsigned packed(float low, float high) { return brain(low) | brain(high) << 16; }
DEVICE unsigned packed_above_zero(float low, float high) { return packed(low < 0 ? 0 : low, high < 0 ? 0 : high); }
DEVICE float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE long long nearest(double x) { return llrint(x); }
DEVICE float inverse_root(float x) { return 1 / sqrtf(x); }

template <class T> T load(const T *from) {
    emulator::touch(from, sizeof(T));
    return *from;
}
template <class T> void store(T *to, T value) {
    emulator::touch(to, sizeof(T));
    *to = value;
}
DEVICE Quad load_quad(const void *from) { return load((const Quad *)from); }
DEVICE void store_quad(void *to, Quad quad) { store((Quad *)to, quad); }
DEVICE void store_pair(float *to, float first, float second) {
    emulator::touch(to, 8);
    to[0] = first, to[1] = second;
}

DEVICE Quad shared_load(unsigned at) { return emulator::read_shared<Quad>(at); }
DEVICE void shared_store(unsigned at, Quad quad) { emulator::write_shared(at, quad); }
DEVICE float shared_load_float(unsigned at) { return emulator::read_shared<float>(at); }
DEVICE void shared_store_float(unsigned at, float value) { emulator::write_shared(at, value); }
DEVICE double shared_load_double(unsigned at) { return emulator::read_shared<double>(at); }
DEVICE void shared_store_double(unsigned at, double value) { emulator::write_shared(at, value); }
DEVICE void shared_store_pair(unsigned at, float first, float second) {
    emulator::write_shared(at, (unsigned long long)as_bits(first) | (unsigned long long)as_bits(second) << 32);
}

DEVICE void copy_async(unsigned at, const void *from, bool inside) {
    using namespace emulator;
    if (inside) touch(from, 16);
    Fiber &fiber = fibers[current];
    Copy copy{at, fiber.group, inside, {}};
    if (inside) memcpy(copy.bytes, from, 16);
    note_write(at, 16);
    if (order == ASCENDING) memcpy(shared + at, copy.bytes, 16);
    fiber.copies.push_back(copy);
}
DEVICE void copies_end() { emulator::fibers[emulator::current].group++; }
template <int LEFT> void copies_wait() { emulator::complete(emulator::fibers[emulator::current], LEFT); }

namespace emulator {
template <class T> struct Shuffle {
    static constexpr const char *NAME = "shuffle";
    T value, result;
    unsigned mask;
    static void run(Shuffle **lanes) {
        for (unsigned lane = 0; lane < LANES; lane++) lanes[lane]->result = lanes[lane ^ lanes[lane]->mask]->value;
    }
};
// ldmatrix.sync.aligned.m8n8.x4.shared.b16: lanes 8 i … 8 i + 7 bring the rows of matrix i; a lane gets of each matrix two
// neighbours of row lane / 4, or with .trans two of column lane / 4.
template <bool TRANSPOSED> struct Matrices {
    static constexpr const char *NAME = TRANSPOSED ? "ldmatrix.trans" : "ldmatrix";
    unsigned at;
    Quad result;
    static void run(Matrices **lanes) {
        const unsigned warp = current / LANES * LANES;
        for (unsigned matrix = 0; matrix < 4; matrix++) {
            unsigned short rows[8][8];
            for (unsigned row = 0; row < 8; row++) {
                const unsigned at = lanes[matrix * 8 + row]->at;
                note_read(at, 16, warp + matrix * 8 + row);
                memcpy(rows[row], shared + at, 16);
            }
            for (unsigned lane = 0; lane < LANES; lane++) {
                const unsigned group = lane / 4, pair = lane % 4 * 2;
                lanes[lane]->result.at[matrix] = TRANSPOSED ? rows[pair][group] | (unsigned)rows[pair + 1][group] << 16
                                                            : rows[group][pair] | (unsigned)rows[group][pair + 1] << 16;
            }
        }
    }
};
// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32, summed in f64 and rounded once: a GPU's own order of the sixteen products
// and its rounding are not documented.
struct Multiply {
    static constexpr const char *NAME = "mma";
    float *c;
    Quad a;
    unsigned b[2];
    static void run(Multiply **lanes) {
        static float a[16][16], b[16][8];
        for (unsigned lane = 0; lane < LANES; lane++) {
            const unsigned group = lane / 4, pair = lane % 4 * 2;
            for (unsigned i = 0; i < 4; i++) {
                for (unsigned half = 0; half < 2; half++) {
                    a[group + i % 2 * 8][pair + i / 2 * 8 + half] = as_float(lanes[lane]->a.at[i] >> (16 * half) << 16);
                    if (i < 2) b[pair + i * 8 + half][group] = as_float(lanes[lane]->b[i] >> (16 * half) << 16);
                }
            }
        }
        for (unsigned lane = 0; lane < LANES; lane++) {
            for (unsigned i = 0; i < 4; i++) {
                const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
                double sum = lanes[lane]->c[i];
                for (unsigned k = 0; k < 16; k++) sum += (double)a[row][k] * b[k][column];
                lanes[lane]->c[i] = (float)sum;
            }
        }
    }
};
} // namespace emulator

template <class T> T shuffle_xor(T value, unsigned mask) {
    emulator::Shuffle<T> operands{value, 0, mask};
    emulator::together(operands);
    return operands.result;
}
DEVICE Quad matrices(unsigned at) {
    emulator::Matrices<false> operands{at, {}};
    emulator::together(operands);
    return operands.result;
}
DEVICE Quad matrices_transposed(unsigned at) {
    emulator::Matrices<true> operands{at, {}};
    emulator::together(operands);
    return operands.result;
}
DEVICE void multiply(float (&c)[4], const Quad &a, unsigned b0, unsigned b1) {
    emulator::Multiply operands{c, a, {b0, b1}};
    emulator::together(operands);
}

// A kernel as a function that runs all its blocks and says what went wrong, or null.
#define ENTRY(name, RESIDENT, Arguments, run)                                                                                               \
    extern "C" __attribute__((visibility("default"))) const char *                                                                          \
    name(const unsigned *launch, const emulator::Range *ranges, const void *arguments, unsigned long bytes) {                               \
        if (bytes != sizeof(Arguments)) return "arguments of another size";                                                                 \
        emulator::ranges = ranges, emulator::range_count = launch[4];                                                                       \
        return emulator::launch(launch[0], launch[1], launch[2], (emulator::Order)launch[3], [&] { run(*(const Arguments *)arguments); });  \
    }
