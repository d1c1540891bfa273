// Pixels of maps [B, H, W, C] on their way to shared memory, and where they lie there.

// Pixels of IMAGES images in shared memory, ROWS × COLUMNS of each, STEP apart in the map, PLANES of all channels of a pixel side by
// side. EVEN > 0: even columns come first (so many), then odd ones, so that every second pixel is a neighbour. A pixel takes an odd
// multiple of 16 bytes, so that eight neighbours lie in all banks. Of the rows and columns, OWN_ROWS and OWN_COLUMNS from EDGE on
// belong to no other block.
template <int PLANES_, int IMAGES_, int ROWS_, int COLUMNS_, int CHANNELS_, int STEP_ = 1, int EVEN_ = 0, int EDGE_ = 0, int OWN_ROWS_ = ROWS_, int OWN_COLUMNS_ = COLUMNS_>
struct Tile {
    static constexpr int IMAGES = IMAGES_, ROWS = ROWS_, COLUMNS = COLUMNS_, CHANNELS = CHANNELS_, STEP = STEP_, EVEN = EVEN_;
    static constexpr int EDGE = EDGE_, OWN_ROWS = OWN_ROWS_, OWN_COLUMNS = OWN_COLUMNS_;
    static constexpr int PLANE = CHANNELS * 2, PITCH = PLANES_ * PLANE + 16, PIXELS = IMAGES * ROWS * COLUMNS, BYTES = PIXELS * PITCH;
    // An item is eight channels of a pixel. A thread keeps to its channels, so where these do not divide a block some threads idle.
    static constexpr int GROUPS = CHANNELS / EIGHT, ITEMS = PIXELS * GROUPS, ACTIVE = THREADS - THREADS % GROUPS;
    static constexpr int MOST = quotient_up(ITEMS, ACTIVE);
    static_assert(GROUPS <= THREADS, "a thread has at least one item");
    DEVICE bool idle() { return ACTIVE < THREADS && thread_index() >= ACTIVE; }
    DEVICE int offset(int row, int column) { // of compile-time rows and columns, from a pixel whose column is even
        return (row * COLUMNS + (EVEN ? column % 2 * EVEN + column / 2 : column)) * PITCH;
    }
};

// The input pixels under a tile of ROWS × COLUMNS outputs, with the edge that a SIDE × SIDE kernel reaches.
template <int PLANES, int CHANNELS, int SIDE, int STRIDE, int UP, int IMAGES, int ROWS, int COLUMNS> struct Footprint {
    static constexpr int EDGE = SIDE == 3 ? 1 : 0;
    static constexpr bool SPREAD = STRIDE == 2 && SIDE == 3; // every second pixel
    static constexpr int TALL = SPREAD ? 2 * ROWS + 1 : UP == 2 ? ROWS / 2 + 2 : ROWS + 2 * EDGE;
    static constexpr int WIDE = SPREAD ? 2 * COLUMNS + 1 : UP == 2 ? COLUMNS / 2 + 2 : COLUMNS + 2 * EDGE;
    using Pixels = Tile<PLANES, IMAGES, TALL, WIDE, CHANNELS, (SIDE == 1 ? STRIDE : 1), (SPREAD ? COLUMNS + 1 : 0), EDGE, ROWS, COLUMNS>;
};

struct Place { unsigned image; int row, column; }; // of a tile's first pixel
constexpr unsigned OUTSIDE = ~0u;

// The pixels of a thread's items, one after the other.
template <class T> struct Walk {
    static constexpr int STEP = T::ACTIVE / T::GROUPS, DOWN = STEP / T::COLUMNS % T::ROWS, ONWARDS = STEP / T::COLUMNS / T::ROWS;
    int item, column, row, image;
    DEVICE Walk begin() {
        const int item = thread_index(), pixel = item / T::GROUPS;
        return Walk{item, pixel % T::COLUMNS, pixel / T::COLUMNS % T::ROWS, pixel / T::COLUMNS / T::ROWS};
    }
    MEMBER void next() {
        item += T::ACTIVE;
        column += STEP % T::COLUMNS;
        row += DOWN;
        if (column >= T::COLUMNS) column -= T::COLUMNS, row++;
        if constexpr (T::IMAGES > 1) {
            image += ONWARDS;
            if (row >= T::ROWS) row -= T::ROWS, image++;
        }
    }
    MEMBER bool is_there() const { return item < T::ITEMS; }
    // Its index in the map, or OUTSIDE.
    MEMBER unsigned pixel(const Map &map, const Place &place) const {
        const int y = place.row + row * T::STEP, x = place.column + column * T::STEP;
        const unsigned n = place.image + image;
        const bool inside = n < map.batch && (unsigned)y < map.height && (unsigned)x < map.width;
        return inside ? (n * map.height + y) * map.width + x : OUTSIDE;
    }
    // Where it lies behind `at`.
    MEMBER unsigned place_in_shared(unsigned at) const {
        const int first = item / T::GROUPS, slot = T::EVEN ? first - column + column % 2 * T::EVEN + column / 2 : first;
        return at + slot * T::PITCH + item % T::GROUPS * 16;
    }
    // Whether no other block has it, but as an edge.
    MEMBER bool is_own() const {
        return row >= T::EDGE && row < T::EDGE + T::OWN_ROWS && column >= T::EDGE && column < T::EDGE + T::OWN_COLUMNS;
    }
};

// COUNT of a thread's items.
template <class T, int COUNT, class Operand>
DEVICE void fetch(typename Operand::Raw (&raw)[COUNT], const Operand &operand, const Map &map, const Place &place, Walk<T> walk) {
    if (T::idle()) return;
    UNROLL(16)
    for (int k = 0; k < COUNT; k++, walk.next()) {
        if (walk.is_there()) {
            const unsigned pixel = walk.pixel(map, place);
            if (pixel != OUTSIDE) raw[k] = operand.raw(pixel);
        }
    }
}
template <class T, int COUNT, class Operand>
DEVICE void put(const typename Operand::Raw (&raw)[COUNT], const Operand &operand, const Map &map, const Place &place, Walk<T> walk, unsigned at, bool keeps) {
    if (T::idle()) return;
    UNROLL(16)
    for (int k = 0; k < COUNT; k++, walk.next()) {
        if (walk.is_there()) {
            const unsigned pixel = walk.pixel(map, place);
            typename Operand::Eight eight = {};
            if (pixel != OUTSIDE) {
                eight = operand.value(raw[k]);
                if (keeps && walk.is_own()) operand.keep(pixel, eight);
            }
            share(walk.place_in_shared(at), T::PLANE, eight);
        }
    }
}

// Brings a tile to shared memory, zeros where the map ends. What is copied asynchronously is there after copies_wait. TRIPLES: items of
// three maps whose loads are on their way at once, as registers allow.
template <class T, int TRIPLES, class Operand>
DEVICE void bring(const Operand &operand, const Map &map, const Place &place, unsigned at, bool keeps) {
    if constexpr (Operand::COPIED) {
        if (T::idle()) return;
        for (Walk<T> walk = Walk<T>::begin(); walk.is_there(); walk.next()) {
            const unsigned pixel = walk.pixel(map, place);
            copy_async(walk.place_in_shared(at), operand.copied(pixel == OUTSIDE ? 0 : pixel), pixel != OUTSIDE);
        }
    } else {
        constexpr int COUNT = at_most(Operand::MAPS == 1 ? 6 : TRIPLES, T::MOST);
        Walk<T> walk = Walk<T>::begin();
        UNROLL(1)
        for (int first = 0; first < T::MOST; first += COUNT) {
            typename Operand::Raw raw[COUNT];
            fetch<T, COUNT>(raw, operand, map, place, walk);
            put<T, COUNT>(raw, operand, map, place, walk, at, keeps);
            UNROLL(16)
            for (int k = 0; k < COUNT; k++) walk.next();
        }
    }
}
