// Runs the kernels on the CPU, as far as their results depend on it: blocks one after the other, the threads of a block taking
// turns at each __syncthreads, forwards or backwards. What differs between both orders, or is read before another thread wrote
// it, is a race.

#define _GNU_SOURCE
#undef _FORTIFY_SOURCE // whose longjmp forbids fibers
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <ucontext.h>

#define EMULATED
#define INLINE static inline
#define PACKED(bytes) __attribute__((aligned(bytes)))
#define __shared__ static

typedef struct { unsigned x; } Index;
static Index threadIdx, blockIdx, gridDim;

#define THREADS 256
#define STACK (64 * 1024)
// Fibers: each begins once, and goes on with the next block where it was done with the last.
static jmp_buf scheduler, fibers[THREADS];
static char stacks[THREADS][STACK];
static int begun[THREADS], running[THREADS];

static void synchronized(void) {
    if (!_setjmp(fibers[threadIdx.x])) _longjmp(scheduler, 1);
}
#define __syncthreads() synchronized()

static double of_neighbour(double number, unsigned distance) {
    static double numbers[THREADS];
    numbers[threadIdx.x] = number;
    synchronized();
    number = numbers[threadIdx.x ^ distance];
    synchronized();
    return number;
}

// The kernels.
#include KERNELS

typedef void (*Thread)(const void *arguments);
static Thread thread_main;
static const void *thread_arguments;

static void begin(void) {
    for (;;) {
        thread_main(thread_arguments);
        running[threadIdx.x] = 0;
        synchronized();
    }
}

// Runs a thread until it waits for others, or is done.
static void resume(unsigned thread) {
    threadIdx.x = thread;
    if (_setjmp(scheduler)) return;
    if (begun[thread]) _longjmp(fibers[thread], 1);
    begun[thread] = 1;
    static ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks[thread];
    context.uc_stack.ss_size = STACK;
    makecontext(&context, begin, 0);
    setcontext(&context);
}

void run_blocks(Thread thread, const void *arguments, unsigned blocks, int backwards) {
    thread_main = thread;
    thread_arguments = arguments;
    gridDim.x = blocks;
    for (unsigned block = 0; block < blocks; block++) {
        blockIdx.x = backwards ? blocks - 1 - block : block;
        for (unsigned i = 0; i < THREADS; i++) running[i] = 1;
        for (int left = 1; left;) {
            left = 0;
            for (unsigned i = 0; i < THREADS; i++) {
                const unsigned next = backwards ? THREADS - 1 - i : i;
                if (!running[next]) continue;
                resume(next);
                left += running[next];
            }
        }
    }
}
