// Two sums per channel over all pixels, without a launch of their own.

// Of eight channels; GROUPS eights side by side are the channels of a block.
template <int GROUPS> struct Sums { float first[EIGHT], second[EIGHT]; };

// Bytes of shared memory for the sums of each warp.
template <int GROUPS> constexpr int BYTES_OF_SUMS = WARPS * 2 * GROUPS * EIGHT * 4;

// Adds up the sums of a block's threads that have the same channels, and leaves them in its row of `partial` [rows][2][SEEN]. The
// ticket, of the first thread, says whether it is the last; what is stored between this and finish_sums hides the time that takes.
// AT: shared memory that nothing else is in.
template <int GROUPS, int AT>
DEVICE unsigned leave_sums(const Sums<GROUPS> &sums, float *partial, unsigned *ticket) {
    constexpr int SEEN = GROUPS * EIGHT, STEPS = GROUPS <= 2 ? 4 : GROUPS == 4 ? 3 : 2;
    static_assert(GROUPS == 1 || GROUPS == 2 || GROUPS == 4 || GROUPS == 8, "lanes with the same channels are a power of two apart");
    const int thread = thread_index(), lane = thread % 32, warp = thread / 32;
    // At each step a lane gives half its numbers away and takes the other lane's of the half that it keeps.
    float v[2 * EIGHT];
    UNROLL(8)
    for (int k = 0; k < EIGHT; k++) v[k] = sums.first[k], v[EIGHT + k] = sums.second[k];
    int first = 0;
    UNROLL(4)
    for (int step = 0; step < STEPS; step++) {
        const int half = EIGHT >> step, offset = GROUPS << step;
        const bool upper = lane & offset;
        UNROLL(8)
        for (int k = 0; k < half; k++) {
            const float given = upper ? v[k] : v[k + half], kept = upper ? v[k + half] : v[k];
            v[k] = kept + shuffle_xor(given, offset);
        }
        first += upper ? half : 0;
    }
    if constexpr (GROUPS == 1) v[0] += shuffle_xor(v[0], 16);
    if (GROUPS > 1 || lane < 16) {
        UNROLL(4)
        for (int k = 0; k < 2 * EIGHT >> STEPS; k++) {
            const int at = (first + k) / EIGHT * SEEN + lane % GROUPS * EIGHT + (first + k) % EIGHT;
            shared_store_float(AT + (warp * 2 * SEEN + at) * 4, v[k]);
        }
    }
    barrier();
    if (thread < 2 * SEEN) {
        float sum = 0;
        UNROLL(8)
        for (int w = 0; w < WARPS; w++) sum += shared_load_float(AT + (w * 2 * SEEN + thread) * 4);
        store(partial + (block_index() * 2 * SEEN + thread), sum);
    }
    barrier();
    return thread == 0 ? count_up(ticket) : 0;
}

// The block that comes last adds up all rows in their order and finishes, so bits do not depend on which it is; it sets the ticket to
// zero again.
template <int GROUPS, int AT, class Finish>
DEVICE void finish_sums(const float *partial, unsigned *ticket, unsigned came, const Finish &finish) {
    constexpr int SEEN = GROUPS * EIGHT, QUADS = SEEN / 2, SIDE_BY_SIDE = THREADS / QUADS;
    static_assert(WARPS * 2 * SEEN * 8 <= AT, "the flag is behind the sums in f64");
    const int thread = thread_index(), lane = thread % 32, warp = thread / 32;
    if (thread == 0) shared_store_float(AT, came == blocks() - 1 ? 1.f : 0.f);
    barrier();
    if (shared_load_float(AT) == 0.f) return;
    acquire();
    // No more at once: what the last block has in registers, all blocks must have room for.
    constexpr int AT_ONCE = 8;
    const int quad = thread % QUADS;
    double total[4] = {};
    for (int row = thread / QUADS; row < (int)blocks(); row += AT_ONCE * SIDE_BY_SIDE) {
        Quad rows[AT_ONCE];
        UNROLL(8)
        for (int i = 0; i < AT_ONCE; i++) {
            rows[i] = Quad{};
            if (row + i * SIDE_BY_SIDE < (int)blocks()) rows[i] = load_quad_of_others(partial + ((row + i * SIDE_BY_SIDE) * 2 * SEEN + quad * 4));
        }
        UNROLL(8)
        for (int i = 0; i < AT_ONCE; i++) {
            UNROLL(4)
            for (int k = 0; k < 4; k++) total[k] += (double)as_float(rows[i].at[k]);
        }
    }
    UNROLL(3)
    for (int offset = QUADS; offset < 32; offset *= 2) {
        UNROLL(4)
        for (int k = 0; k < 4; k++) total[k] += shuffle_xor(total[k], offset);
    }
    if (lane < QUADS) {
        UNROLL(4)
        for (int k = 0; k < 4; k++) shared_store_double((warp * 2 * SEEN + quad * 4 + k) * 8, total[k]);
    }
    barrier();
    if (thread < SEEN) {
        double first = 0, second = 0;
        UNROLL(8)
        for (int w = 0; w < WARPS; w++) {
            first += shared_load_double((w * 2 * SEEN + thread) * 8);
            second += shared_load_double((w * 2 * SEEN + SEEN + thread) * 8);
        }
        finish(block_row() * SEEN + thread, first, second);
    }
    if (thread == 0) store(ticket, 0u);
}
