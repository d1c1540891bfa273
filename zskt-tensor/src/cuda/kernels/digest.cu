// Sums over the bits of tensors: whether they are what they were. Each word is mixed with its place before it is added, and each term
// depends on every bit of both; integers are the same in whatever order they come.
typedef struct {
    const unsigned *words[TENSORS];
    unsigned long long *sums; // one for each tensor, 0 at first
    Division division;
} Digest;

// The last step of MurmurHash3: no two words become one.
INLINE unsigned mixed(unsigned word) {
    word = (word ^ word >> 16) * 0x85ebca6bu;
    word = (word ^ word >> 13) * 0xc2b2ae35u;
    return word ^ word >> 16;
}

KERNEL(digest, Digest) {
    const Part part = part_of(&a.division);
    const unsigned *words = a.words[part.tensor];
    double sum = 0; // of integers: exact, for there are fewer than 2^21 words in a part
    EACH_OF_PART(first, part) {
        unsigned some[IN_FLIGHT];
        for (unsigned k = 0; k < IN_FLIGHT; k++) some[k] = words[in_flight(first, k, BLOCK, part.end)];
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            const unsigned index = first + k * BLOCK;
            if (index < part.end) sum += mixed(some[k] ^ mixed(index));
        }
    }
    sum = summed_block(sum);
    if (threadIdx.x == 0) ADD_TO(a.sums + part.tensor, (unsigned long long)sum);
}
