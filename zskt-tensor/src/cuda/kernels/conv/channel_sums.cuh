// Two sums per channel over all pixels, without a launch of their own. Blocks add theirs up as integers, which makes the same sum in
// whatever order they come.

// A sum of floats in limbs of 44 bits and some to carry into: multiples of 2^20, of 2^-24 and of 2^-68, to which each float is rounded.
// The last counts floats that are not finite, or of which 2^18 would not fit.
constexpr int LIMBS = 4;
DEVICE void add_exactly(long long *limbs, int apart, float value) {
    if (!(value < 0x1p64f && value > -0x1p64f)) {
        add_to(limbs + 3 * apart, 1);
        return;
    }
    double left = value;
    UNROLL(3)
    for (int i = 0; i < 3; i++) {
        const double unit = i == 0 ? 0x1p20 : i == 1 ? 0x1p-24 : 0x1p-68, inverse = i == 0 ? 0x1p-20 : i == 1 ? 0x1p24 : 0x1p68;
        const long long limb = nearest(left * inverse);
        if (limb) add_to(limbs + i * apart, limb);
        left -= (double)limb * unit;
    }
}
// What others have added, of which it leaves nothing.
DEVICE double take_exactly(long long *limbs, int apart) {
    long long limb[LIMBS];
    UNROLL(4)
    for (int i = 0; i < LIMBS; i++) limb[i] = load_of_others(limbs + i * apart);
    UNROLL(4)
    for (int i = 0; i < LIMBS; i++) store(limbs + i * apart, 0ll);
    return limb[3] ? as_float(0x7fc00000u) : (double)limb[0] * 0x1p20 + ((double)limb[1] * 0x1p-24 + (double)limb[2] * 0x1p-68);
}

// Of eight channels; GROUPS eights side by side are the channels of a block.
template <int GROUPS> struct Sums { float first[EIGHT], second[EIGHT]; };

// Bytes of shared memory for the sums of each warp.
template <int GROUPS> constexpr int BYTES_OF_SUMS = WARPS * 2 * GROUPS * EIGHT * 4;

// Adds up the sums of a block's threads that have the same channels, and adds these to `limbs` [LIMBS][2][SEEN]. The ticket, of the
// first thread, says whether it is the last; what is stored between this and finish_sums hides the time that takes. AT: shared memory
// that nothing else is in.
template <int GROUPS, int AT>
DEVICE unsigned leave_sums(const Sums<GROUPS> &sums, long long *limbs, unsigned *ticket) {
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
        add_exactly(limbs + thread, 2 * SEEN, sum);
    }
    barrier();
    return thread == 0 ? count_up(ticket) : 0;
}

// The block that comes last finishes, and leaves limbs and ticket zero again.
template <int GROUPS, int AT, class Epilogue>
DEVICE void finish_sums(long long *limbs, unsigned *ticket, unsigned came, const Epilogue &epilogue, double pixels) {
    constexpr int SEEN = GROUPS * EIGHT;
    static_assert(2 * SEEN * 8 <= AT && 2 * SEEN <= THREADS, "the flag is behind the sums in f64, of which each thread has one");
    const int thread = thread_index(), channel = block_row() * SEEN + thread;
    if (thread == 0) shared_store_float(AT, came == blocks() - 1 ? 1.f : 0.f);
    barrier();
    if (shared_load_float(AT) == 0.f) return;
    acquire();
    typename Epilogue::Known known = {};
    if (thread < SEEN) known = epilogue.known(channel);
    if (thread < 2 * SEEN) shared_store_double(thread * 8, take_exactly(limbs + thread, 2 * SEEN));
    barrier();
    if (thread < SEEN) epilogue.finish(channel, known, shared_load_double(thread * 8), shared_load_double((SEEN + thread) * 8), pixels);
    if (thread == 0) store(ticket, 0u);
}
