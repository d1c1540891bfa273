// What all kernels share: the types of numbers, how threads are laid over a map, and sums within a block.
//
// Maps are [B, H, W, C] in memory. Number is the type of a map's numbers (NUMBER_F32, NUMBER_F64 or NUMBER_BF16), Real the
// type of everything else and of all arithmetic. A thread reads and writes PACK channels at once. What is here is the part of
// CUDA C++ that is also C, for the tests compile it for the CPU (emulated.c).

#define BLOCK 256
#define WARP 32

// A product that no sum is contracted with, for a threshold to lie where it does on the CPU.
#if defined(EMULATED)
#define PRODUCT(a, b) ((a) * (b))
#elif defined(NUMBER_F64)
#define PRODUCT(a, b) __dmul_rn(a, b)
#else
#define PRODUCT(a, b) __fmul_rn(a, b)
#endif

#ifdef EMULATED
#define KERNEL(name, arguments)                                                                                      \
    static void name##_thread(const arguments a);                                                                    \
    void zskt_##name(const void *a) { name##_thread(*(const arguments *)a); }                                        \
    static void name##_thread(const arguments a)
#define FENCE()
#define COUNT_UP(number) ((*(number))++)
#define ADD_TO(sum, number) (*(sum) += (number))
#define OF_NEIGHBOUR(number, distance) of_neighbour(number, distance)
#else
#define FENCE() __threadfence()
#define COUNT_UP(number) atomicAdd(number, 1u)
#define ADD_TO(sum, number) atomicAdd(sum, number)
// A number of the thread of the same warp whose index differs in this bit; for all threads of a block.
#define OF_NEIGHBOUR(number, distance) __shfl_xor_sync(0xffffffffu, number, distance)
#define KERNEL(name, arguments) extern "C" __global__ void __launch_bounds__(BLOCK) zskt_##name(const arguments a)
#define INLINE static __device__ __forceinline__
#define PACKED(bytes) __align__(bytes)
#endif

#if defined(NUMBER_F64)
typedef double Number;
typedef double Real;
#define ROOT(x) sqrt(x)
#define EXP(x) exp(x)
#define LOG(x) log(x)
#define HYPERBOLIC_TANGENT(x) tanh(x)
#define ERROR_FUNCTION(x) erf(x)
#define INVERSE_ROOT(x) (1 / sqrt(x))
#define NUMBER_BYTES 8
#define REALS 2
INLINE Real load(Number number) { return number; }
INLINE Number rounded(Real real) { return real; }
#else
typedef float Real;
#define REALS 4
#define ROOT(x) sqrtf(x)
#ifdef EMULATED
#define INVERSE_ROOT(x) (1 / sqrtf(x))
#else
#define INVERSE_ROOT(x) rsqrtf(x)
#endif
#define EXP(x) expf(x)
#define LOG(x) logf(x)
#define HYPERBOLIC_TANGENT(x) tanhf(x)
#define ERROR_FUNCTION(x) erff(x)
#if defined(NUMBER_F32)
typedef float Number;
#define NUMBER_BYTES 4
INLINE Real load(Number number) { return number; }
INLINE Number rounded(Real real) { return real; }
#else
typedef struct { unsigned short bits; } Number;
#define NUMBER_BYTES 2
typedef union { float real; unsigned bits; } Bits;
INLINE Real load(Number number) {
    Bits wide;
    wide.bits = (unsigned)number.bits << 16;
    return wide.real;
}
// To the nearest, ties to even.
INLINE Number rounded(Real real) {
    Number number;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(number.bits) : "f"(real));
#else
    Bits wide;
    wide.real = real;
    if ((wide.bits & 0x7fffffffu) > 0x7f800000u) {
        number.bits = (unsigned short)((wide.bits >> 16) | 0x40u);
    } else {
        number.bits = (unsigned short)((wide.bits + 0x7fffu + ((wide.bits >> 16) & 1u)) >> 16);
    }
#endif
    return number;
}
#endif
#endif

typedef struct PACKED(NUMBER_BYTES * PACK) { Number at[PACK]; } Pack;

// As many Reals.
typedef struct PACKED(PACK == 1 ? 16 / REALS : 16) { Real at[PACK]; } RealPack;

INLINE Pack pack_at(const Number *map, unsigned index) { return ((const Pack *)map)[index]; }
INLINE void put_pack(Number *map, unsigned index, Pack pack) { ((Pack *)map)[index] = pack; }

// What a thread loads before it waits for any of it.
#define IN_FLIGHT 4

// The index of what a thread loads k-th, a step behind the one before; what is behind the end is the first again, for no load to be
// branched around.
INLINE unsigned in_flight(unsigned first, unsigned k, unsigned step, unsigned end) {
    const unsigned index = first + k * step;
    return index < end ? index : first;
}

// All packs of a map, one after the other.
#define EACH_PACK(index, packs)                                                                                      \
    for (unsigned index = blockIdx.x * BLOCK + threadIdx.x; index < (packs); index += gridDim.x * BLOCK)

// Threads over a map whose channels matter: a thread keeps to its column of PACK channels and goes from pixel to pixel.
typedef struct {
    unsigned columns; // of a pixel
    unsigned across;  // threads side by side
    unsigned column, row, rows;
} Place;

INLINE Place place_over(unsigned channels) {
    Place place;
    place.columns = channels / PACK;
    place.across = place.columns < BLOCK ? place.columns : BLOCK;
    place.rows = BLOCK / place.across;
    place.column = threadIdx.x % place.across;
    place.row = threadIdx.x / place.across;
    return place;
}

// All threads of a block go through this together; `column` is valid where `busy`.
#define EACH_COLUMN(place, column, busy)                                                                             \
    for (unsigned column = (place).column, busy = (place).row < (place).rows && column < (place).columns, base = 0;  \
         base < (place).columns;                                                                                     \
         base += BLOCK, column += BLOCK, busy = (place).row < (place).rows && column < (place).columns)

#define EACH_PIXEL(place, pixel, pixels)                                                                             \
    for (unsigned pixel = blockIdx.x * (place).rows + (place).row; pixel < (pixels); pixel += gridDim.x * (place).rows)

// The same, with pixels in flight that are a step apart.
#define EACH_PIXEL_IN_FLIGHT(place, first, step, pixels)                                                             \
    for (unsigned step = gridDim.x * (place).rows, first = blockIdx.x * (place).rows + (place).row; first < (pixels); \
         first += IN_FLIGHT * step)

// Two sums per channel.
typedef struct { Real at[2][PACK]; } Sums;

INLINE Sums no_sums(void) {
    Sums sums;
    for (unsigned k = 0; k < PACK; k++) sums.at[0][k] = sums.at[1][k] = 0;
    return sums;
}

// Where threads leave their sums: those of neighbours in other banks than theirs.
#define SUMS_STRIDE (BLOCK + 8)
// Threads that share the sum of a column.
#define ROW_SHARES 8

// Adds up the sums of all rows of a block; the first row has the result. For all threads of the block.
INLINE Sums summed_rows(Place place, Sums sums) {
    __shared__ Real shared[2 * PACK][SUMS_STRIDE];
    if (place.rows == 1) return sums;
    __syncthreads();
    for (unsigned k = 0; k < 2 * PACK; k++) shared[k][threadIdx.x] = sums.at[k / PACK][k % PACK];
    __syncthreads();
    const unsigned columns = 2 * PACK * place.across;
    unsigned shares = BLOCK / columns < ROW_SHARES ? BLOCK / columns : ROW_SHARES;
    if (shares == 0) shares = 1;
    for (unsigned index = threadIdx.x; index < columns * shares; index += BLOCK) {
        const unsigned share = index / columns, k = index % columns / place.across, column = index % place.across;
        Real sum = 0;
        for (unsigned row = share; row < place.rows; row += shares) sum += shared[k][row * place.across + column];
        shared[k][share * place.across + column] = sum;
    }
    __syncthreads();
    if (place.row == 0) {
        for (unsigned k = 0; k < 2 * PACK; k++) {
            Real sum = 0;
            for (unsigned share = 0; share < shares; share++) sum += shared[k][share * place.across + place.column];
            sums.at[k / PACK][k % PACK] = sum;
        }
    }
    return sums;
}

// Sums of a block lie as [2][channels], of which there are as many as make up 16 bytes.
typedef struct PACKED(16) { Real at[REALS]; } Reals;

INLINE unsigned channels_of_partial(unsigned channels) { return (channels + REALS - 1) / REALS * REALS; }

INLINE void put_sums(Place place, unsigned column, unsigned busy, Sums sums, Real *partial, unsigned channels) {
    sums = summed_rows(place, sums);
    if (busy && place.row == 0) {
        const unsigned stride = channels_of_partial(channels);
        Real *first = partial + blockIdx.x * 2 * stride + column * PACK;
        for (unsigned k = 0; k < PACK; k++) {
            first[k] = sums.at[0][k];
            first[stride + k] = sums.at[1][k];
        }
    }
}

// The sum of one number of each thread, for all threads of a block.
INLINE double summed_block(double number) {
    __shared__ double shared[BLOCK / WARP];
    for (unsigned distance = WARP / 2; distance > 0; distance /= 2) number += OF_NEIGHBOUR(number, distance);
    __syncthreads();
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = number;
    __syncthreads();
    number = 0;
    for (unsigned warp = 0; warp < BLOCK / WARP; warp++) number += shared[warp];
    return number;
}

// Whether the block is the last of its launch to ask, which all threads of each do, and may read what the others wrote before.
// The ticket is 0 at first and left so: kernels that share it must not run at once.
INLINE unsigned is_last_block(unsigned *ticket) {
    __shared__ unsigned last;
    FENCE();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = COUNT_UP(ticket) == gridDim.x - 1;
        if (last) *ticket = 0;
    }
    __syncthreads();
    FENCE();
    return last;
}

// Channels whose partial sums a block adds up at once.
#define FINISHED 128
// Threads that share the partial sums of a channel, and partial sums that each has in flight.
#define BLOCK_SHARES 16
#define PARTIALS_IN_FLIGHT 8

#define EACH_FINISHED(first, channels) for (unsigned first = 0; first < (channels); first += FINISHED)

typedef struct { double first, second; } Totals;

// Adds up the sums of all blocks, for the channel of each thread (first + threadIdx.x); threads below FINISHED have the result. For
// all threads of a block.
INLINE Totals summed_blocks(const Real *partial, unsigned channels, unsigned first) {
    __shared__ double shared[REALS][BLOCK];
    const unsigned stride = channels_of_partial(channels), blocks = gridDim.x;
    const unsigned across = (stride - first < FINISHED ? stride - first : FINISHED) / REALS;
    const unsigned shares = BLOCK / (2 * across) < BLOCK_SHARES ? BLOCK / (2 * across) : BLOCK_SHARES;
    const unsigned share = threadIdx.x / (2 * across), second = threadIdx.x / across % 2, column = threadIdx.x % across;
    double sums[REALS];
    for (unsigned k = 0; k < REALS; k++) sums[k] = 0;
    if (share < shares) {
        const Reals *own = (const Reals *)(partial + second * stride + first) + column;
        for (unsigned block = share; block < blocks; block += PARTIALS_IN_FLIGHT * shares) {
            Reals some[PARTIALS_IN_FLIGHT];
            for (unsigned j = 0; j < PARTIALS_IN_FLIGHT; j++) {
                some[j] = own[in_flight(block, j, shares, blocks) * 2 * (stride / REALS)];
            }
            for (unsigned j = 0; j < PARTIALS_IN_FLIGHT; j++) {
                for (unsigned k = 0; k < REALS && block + j * shares < blocks; k++) sums[k] += some[j].at[k];
            }
        }
    }
    __syncthreads();
    for (unsigned k = 0; k < REALS; k++) shared[k][threadIdx.x] = sums[k];
    __syncthreads();
    Totals totals;
    totals.first = totals.second = 0;
    if (threadIdx.x < across * REALS) {
        const double *own = shared[threadIdx.x % REALS] + threadIdx.x / REALS;
        for (unsigned k = 0; k < shares; k++) {
            totals.first += own[2 * k * across];
            totals.second += own[(2 * k + 1) * across];
        }
    }
    return totals;
}

// `x` between zero and a limit, the limit above, slope · `x` below zero; and the gradient in front of that, which does not come
// through from the limit on.
INLINE Real activated(Real x, Real slope, Real limit) {
    const Real y = x > 0 ? x : slope * x;
    return y > limit ? limit : y;
}

INLINE Real through_activation(Real x, Real gradient, Real slope, Real limit) {
    return x > 0 ? (x < limit ? gradient : 0) : slope * gradient;
}
