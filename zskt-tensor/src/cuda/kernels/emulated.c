// Runs the kernels on the CPU, as far as their results depend on it: blocks one after the other, the threads of a block taking
// turns at each __syncthreads, forwards or backwards. What differs between both orders, or is read before another thread wrote
// it, is a race.

#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

#define EMULATED
#define INLINE static inline
#define PACKED(bytes) __attribute__((aligned(bytes)))
#define __shared__ static

typedef struct { unsigned x; } Index;
static Index threadIdx, blockIdx, gridDim;

#define THREADS 256
#define STACK (64 * 1024)
static ucontext_t scheduler, contexts[THREADS];
static int running[THREADS];

static void synchronized(void) { swapcontext(&contexts[threadIdx.x], &scheduler); }
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
    thread_main(thread_arguments);
    running[threadIdx.x] = 0;
    swapcontext(&contexts[threadIdx.x], &scheduler);
}

void run_blocks(Thread thread, const void *arguments, unsigned blocks, int backwards) {
    static char *stacks;
    if (!stacks) stacks = malloc((size_t)THREADS * STACK);
    thread_main = thread;
    thread_arguments = arguments;
    gridDim.x = blocks;
    for (unsigned block = 0; block < blocks; block++) {
        blockIdx.x = backwards ? blocks - 1 - block : block;
        for (unsigned i = 0; i < THREADS; i++) {
            getcontext(&contexts[i]);
            contexts[i].uc_stack.ss_sp = stacks + (size_t)i * STACK;
            contexts[i].uc_stack.ss_size = STACK;
            contexts[i].uc_link = &scheduler;
            makecontext(&contexts[i], begin, 0);
            running[i] = 1;
        }
        for (int left = 1; left;) {
            left = 0;
            for (unsigned i = 0; i < THREADS; i++) {
                threadIdx.x = backwards ? THREADS - 1 - i : i;
                if (running[threadIdx.x]) {
                    swapcontext(&scheduler, &contexts[threadIdx.x]);
                    left += running[threadIdx.x];
                }
            }
        }
    }
}
