// The operations of a GPU that convolutions are written in; emulator.h has the same for the CPU. No header of CUDA's is included, so
// that NVRTC needs none.

typedef unsigned short bf16;

#define DEVICE static __device__ __forceinline__
#define MEMBER __device__ __forceinline__
#define BOTH __host__ __device__
#define UNROLL_(text) _Pragma(#text)
#define UNROLL(n) UNROLL_(unroll n)

struct __align__(16) Quad { unsigned at[4]; };

extern __shared__ __align__(128) unsigned char shared_bytes[];

DEVICE unsigned thread_index() { return threadIdx.x; }
DEVICE unsigned block_index() { return blockIdx.x; }
DEVICE unsigned block_row() { return blockIdx.y; }
DEVICE unsigned blocks() { return gridDim.x; }
DEVICE void barrier() { __syncthreads(); }
DEVICE void add_to(long long *sum, long long value) { asm volatile("red.relaxed.gpu.global.add.u64 [%0], %1;" ::"l"(sum), "l"(value) : "memory"); }

DEVICE float as_float(unsigned bits) { return __uint_as_float(bits); }
DEVICE unsigned as_bits(float value) { return __float_as_uint(value); }
DEVICE unsigned packed(float low, float high) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
// Zero where they are below.
DEVICE unsigned packed_above_zero(float low, float high) {
    unsigned both;
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
DEVICE float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE long long nearest(double x) { return __double2ll_rn(x); }
// 1 / √x by one instruction, without a division and a square root: within 2 ulp, and of the same x always the same bits.
DEVICE float inverse_root(float x) { return rsqrtf(x); }

template <class T> DEVICE T load(const T *from) { return *from; }
template <class T> DEVICE void store(T *to, T value) { *to = value; }
DEVICE Quad load_quad(const void *from) {
    const uint4 q = *(const uint4 *)from;
    return Quad{{q.x, q.y, q.z, q.w}};
}
DEVICE void store_quad(void *to, Quad q) { *(uint4 *)to = make_uint4(q.at[0], q.at[1], q.at[2], q.at[3]); }
DEVICE void store_pair(float *to, float first, float second) { *(float2 *)to = make_float2(first, second); }

DEVICE Quad shared_load(unsigned at) { return *(const Quad *)(shared_bytes + at); }
DEVICE void shared_store(unsigned at, Quad quad) { *(Quad *)(shared_bytes + at) = quad; }
DEVICE float shared_load_float(unsigned at) { return *(const float *)(shared_bytes + at); }
DEVICE void shared_store_float(unsigned at, float value) { *(float *)(shared_bytes + at) = value; }
DEVICE double shared_load_double(unsigned at) { return *(const double *)(shared_bytes + at); }
DEVICE void shared_store_double(unsigned at, double value) { *(double *)(shared_bytes + at) = value; }
DEVICE void shared_store_pair(unsigned at, float first, float second) { *(float2 *)(shared_bytes + at) = make_float2(first, second); }
DEVICE unsigned shared_address(unsigned at) { return (unsigned)__cvta_generic_to_shared(shared_bytes) + at; }

// Sixteen bytes to shared memory, or zeros.
DEVICE void copy_async(unsigned at, const void *from, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(at)), "l"(from), "r"(inside ? 16 : 0) : "memory");
}
DEVICE void copies_end() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> DEVICE void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); }

DEVICE float shuffle_xor(float value, unsigned mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
DEVICE Quad matrices(unsigned at) {
    Quad q;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(q.at[0]), "=r"(q.at[1]), "=r"(q.at[2]), "=r"(q.at[3]) : "r"(shared_address(at)) : "memory");
    return q;
}
DEVICE Quad matrices_transposed(unsigned at) {
    Quad q;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(q.at[0]), "=r"(q.at[1]), "=r"(q.at[2]), "=r"(q.at[3]) : "r"(shared_address(at)) : "memory");
    return q;
}
// c += a · b, 16 × 16 by 16 × 8.
DEVICE void multiply(float (&c)[4], const Quad &a, unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b0), "r"(b1));
}

// A kernel, of one struct of arguments.
#define ENTRY(name, RESIDENT, Arguments, run) \
    extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) name(const __grid_constant__ Arguments a) { run(a); }
