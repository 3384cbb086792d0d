/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The inlined half of the recorder, which foretrace.h includes. Nothing in here is for use: it is bound to one version of
 * the library (FORETRACE_ABI, checked when a call site is registered).
 *
 * A field such as ft_u64("items", n) is no call: its name is pasted to FORETRACE_APART_, so that one spelling gives
 * the declaration, the value, its length and the store. */
#ifndef FORETRACE_INSIDE_H
#define FORETRACE_INSIDE_H

#include "foretrace.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FORETRACE_ABI 1
/* A call site that was not yet reached; a number that no event type has. */
#define FORETRACE_NEW 0x10000u
/* What a call site's events are: events, or the two ends of a span. */
#define FORETRACE_EVENT 0
#define FORETRACE_BEGINS 1
#define FORETRACE_ENDS 2
/* The frame of a thread that records nothing now. */
#define FORETRACE_IDLE 1
/* Where a clock's times come from. */
#define FORETRACE_BATCH 0
#define FORETRACE_COARSE 1
#define FORETRACE_AT 2

#define FORETRACE_JOIN(a, b) FORETRACE_JOIN_(a, b)
#define FORETRACE_JOIN_(a, b) a##b

/* What comes behind the level: SOME fields or NONE; or how the event is wrong. */
#define FORETRACE_FIELDS(...)                                                                                        \
    FORETRACE_35TH(__VA_ARGS__, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY,  \
                   MANY, MANY, SOME, SOME, SOME, SOME, SOME, SOME, SOME, SOME, SOME, SOME, SOME, SOME, SOME, SOME,   \
                   SOME, SOME, NONE, NAMELESS, 0)
#define FORETRACE_35TH(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, A, B, C, D, E,  \
                       F, G, H, I, ...)                                                                              \
    I
#define FORETRACE_COUNT(...) FORETRACE_17TH(__VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define FORETRACE_17TH(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, ...) q

#define FORETRACE_EACH(do_, ...) FORETRACE_JOIN(FORETRACE_EACH_, FORETRACE_COUNT(__VA_ARGS__))(do_, __VA_ARGS__)
#define FORETRACE_EACH_1(do_, field) do_(1, field)
#define FORETRACE_EACH_2(do_, field, ...) do_(2, field) FORETRACE_EACH_1(do_, __VA_ARGS__)
#define FORETRACE_EACH_3(do_, field, ...) do_(3, field) FORETRACE_EACH_2(do_, __VA_ARGS__)
#define FORETRACE_EACH_4(do_, field, ...) do_(4, field) FORETRACE_EACH_3(do_, __VA_ARGS__)
#define FORETRACE_EACH_5(do_, field, ...) do_(5, field) FORETRACE_EACH_4(do_, __VA_ARGS__)
#define FORETRACE_EACH_6(do_, field, ...) do_(6, field) FORETRACE_EACH_5(do_, __VA_ARGS__)
#define FORETRACE_EACH_7(do_, field, ...) do_(7, field) FORETRACE_EACH_6(do_, __VA_ARGS__)
#define FORETRACE_EACH_8(do_, field, ...) do_(8, field) FORETRACE_EACH_7(do_, __VA_ARGS__)
#define FORETRACE_EACH_9(do_, field, ...) do_(9, field) FORETRACE_EACH_8(do_, __VA_ARGS__)
#define FORETRACE_EACH_10(do_, field, ...) do_(10, field) FORETRACE_EACH_9(do_, __VA_ARGS__)
#define FORETRACE_EACH_11(do_, field, ...) do_(11, field) FORETRACE_EACH_10(do_, __VA_ARGS__)
#define FORETRACE_EACH_12(do_, field, ...) do_(12, field) FORETRACE_EACH_11(do_, __VA_ARGS__)
#define FORETRACE_EACH_13(do_, field, ...) do_(13, field) FORETRACE_EACH_12(do_, __VA_ARGS__)
#define FORETRACE_EACH_14(do_, field, ...) do_(14, field) FORETRACE_EACH_13(do_, __VA_ARGS__)
#define FORETRACE_EACH_15(do_, field, ...) do_(15, field) FORETRACE_EACH_14(do_, __VA_ARGS__)
#define FORETRACE_EACH_16(do_, field, ...) do_(16, field) FORETRACE_EACH_15(do_, __VA_ARGS__)

/* A field taken apart: how it is handled, its kind's number in the ring, the type of its value, name, value, class,
 * length. */
#define FORETRACE_APART_ft_u8(...) NUMBER, 0, uint8_t, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_u16(...) NUMBER, 1, uint16_t, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_u32(...) NUMBER, 2, uint32_t, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_u64(...) NUMBER, 3, uint64_t, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_i8(...) NUMBER, 4, int8_t, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_i16(...) NUMBER, 5, int16_t, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_i32(...) NUMBER, 6, int32_t, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_i64(...) NUMBER, 7, int64_t, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_f32(...) NUMBER, 8, float, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_f64(...) NUMBER, 9, double, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_bool(...) NUMBER, 10, bool, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_str(...) STRING, 11, char, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_text(...) STRETCH, 11, char, FORETRACE_STRETCH(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_bytes(...) MEMORY, 12, void, FORETRACE_STRETCH(__VA_ARGS__, FT_PUBLIC, 0)
#define FORETRACE_APART_ft_secret(name) NUMBER, 0, uint8_t, name, 0, FT_SECRET, 0
#define FORETRACE_VALUE(name, value, privacy, ...) name, value, privacy, 0
#define FORETRACE_STRETCH(name, value, length, privacy, ...) name, value, privacy, length

/* Each of these is done to each field; the second step expands what the first one pasted. */
#define FORETRACE_DECLARE(n, field) FORETRACE_DECLARE_(FORETRACE_APART_##field)
#define FORETRACE_DECLARE_(...) FORETRACE_DECLARE__(__VA_ARGS__)
#define FORETRACE_DECLARE__(how, kind, type, name, value, privacy, length) {"" name, kind, (uint8_t)(privacy)},

#define FORETRACE_TAKE(n, field) FORETRACE_TAKE_(n, FORETRACE_APART_##field)
#define FORETRACE_TAKE_(...) FORETRACE_TAKE__(__VA_ARGS__)
#define FORETRACE_TAKE__(n, how, kind, type, name, value, privacy, length)                                           \
    FORETRACE_TAKE_##how(n, type, value, (privacy) == FT_SECRET, length)

#define FORETRACE_SIZE(n, field) FORETRACE_SIZE_(n, FORETRACE_APART_##field)
#define FORETRACE_SIZE_(...) FORETRACE_SIZE__(__VA_ARGS__)
#define FORETRACE_SIZE__(n, how, kind, type, name, value, privacy, length)                                           \
    +((privacy) == FT_SECRET ? (uint64_t)1 : FORETRACE_SIZE_##how(n))

#define FORETRACE_STORE(n, field) FORETRACE_STORE_(n, FORETRACE_APART_##field)
#define FORETRACE_STORE_(...) FORETRACE_STORE__(__VA_ARGS__)
#define FORETRACE_STORE__(n, how, kind, type, name, value, privacy, length)                                          \
    foretrace_at = (privacy) == FT_SECRET ? foretrace_put(foretrace_at, "", 1) : FORETRACE_STORE_##how(n);

/* A secret is not taken: its expression is compiled and never evaluated. */
#define FORETRACE_TAKE_NUMBER(n, type, value, secret, length)                                                        \
    const type foretrace_value_##n = (secret) ? (type)0 : (value);
#define FORETRACE_TAKE_STRING(n, type, value, secret, length)                                                        \
    const char *const foretrace_value_##n = foretrace_string((secret) ? "" : (value));                               \
    const uint16_t foretrace_length_##n = foretrace_length(strlen(foretrace_value_##n), foretrace_value_##n);
#define FORETRACE_TAKE_STRETCH(n, type, value, secret, length)                                                       \
    const char *const foretrace_value_##n = (secret) ? "" : (value);                                                 \
    const uint16_t foretrace_length_##n = foretrace_length((secret) ? 0 : (length), foretrace_value_##n);
#define FORETRACE_TAKE_MEMORY(n, type, value, secret, length)                                                        \
    const void *const foretrace_value_##n = (secret) ? NULL : (const void *)(value);                                 \
    const uint16_t foretrace_length_##n = foretrace_length((secret) ? 0 : (length), NULL);

#define FORETRACE_SIZE_NUMBER(n) sizeof foretrace_value_##n
#define FORETRACE_SIZE_STRING(n) ((uint64_t)2 + foretrace_length_##n)
#define FORETRACE_SIZE_STRETCH(n) FORETRACE_SIZE_STRING(n)
#define FORETRACE_SIZE_MEMORY(n) FORETRACE_SIZE_STRING(n)

#define FORETRACE_STORE_NUMBER(n) foretrace_put(foretrace_at, &foretrace_value_##n, sizeof foretrace_value_##n)
#define FORETRACE_STORE_STRING(n) foretrace_put_sequence(foretrace_at, foretrace_value_##n, foretrace_length_##n)
#define FORETRACE_STORE_STRETCH(n) FORETRACE_STORE_STRING(n)
#define FORETRACE_STORE_MEMORY(n) FORETRACE_STORE_STRING(n)

/* What a call site is, for as long as the program runs. */
struct foretrace_field {
    const char *name;
    uint8_t kind;
    uint8_t privacy;
};

struct foretrace_site {
    /* The event type's number; FORETRACE_NEW until the site is registered; 0 where nothing is recorded. */
    uint32_t word;
    uint8_t abi;
    uint8_t level;
    uint8_t count;
    uint8_t phase;
    uint32_t line;
    const char *file;
    const char *provider;
    const char *name;
    const struct foretrace_field *fields;
};

/* The recorder's state of a thread, as thread.c of the recorder has it; the rest of it is not for this file.
 *
 *      0 frame u64     8 epoch u32     16 commit u64    24 base    32 limit i64 */
struct foretrace_thread {
    uint64_t frame;
    uint32_t epoch;
    uint64_t commit;
    unsigned char *base;
    int64_t limit;
};

/* An event that is being written the fast way, if `thread` is not NULL. Only inlined code knows of it, so that it lies
 * in registers. */
struct foretrace_writing {
    uint64_t size;
    struct foretrace_thread *thread;
    unsigned char *base;
    uint64_t commit;
    uint64_t time;
};

/* What the slow way wants to remember. */
struct foretrace_slowly {
    uint64_t words[7];
};

int foretrace_report_error(const char *message, const char *file, uint32_t line);
/* Gives a site its number, and the process its ring. Whether to record. */
bool foretrace_register(struct foretrace_site *site);
/* A place for an event when foretrace_begin found none, or NULL. `frame` is the call site's stack pointer, by which it
 * is seen that a handler left a recording by a jump. */
unsigned char *foretrace_place(struct foretrace_slowly *slowly, struct foretrace_site *site, uint64_t size,
                               uint64_t frame);
/* The same for an event whose time is given. */
unsigned char *foretrace_place_at(struct foretrace_slowly *slowly, struct foretrace_site *site, uint64_t size,
                                  uint64_t frame, uint64_t time);
void foretrace_commit(struct foretrace_slowly *slowly);
/* What the kernel's coarse clock says: it changes with each tick. */
uint64_t foretrace_tick(void);
/* `time`, or that of this thread's last event if it is later, or the present if that is earlier. */
uint64_t foretrace_in_order(uint64_t time);
/* The number of this thread's next span: 1, 2, ... */
uint64_t foretrace_next_span(void);
/* Counts a field that is cut, and answers how much of it to keep. `text` is NULL for bytes that are no text. */
uint16_t foretrace_cut(const char *text);

#ifdef __cplusplus
}
#define FORETRACE_ASSERT static_assert
#else
#define FORETRACE_ASSERT _Static_assert
#endif

FORETRACE_ASSERT(sizeof(bool) == 1, "foretrace records a bool as one byte");
FORETRACE_ASSERT(sizeof(void *) == 8, "foretrace records in 64-bit programs");
FORETRACE_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "foretrace records in little-endian programs");
FORETRACE_ASSERT(offsetof(struct foretrace_site, fields) == 40, "the library knows sites of this layout");
FORETRACE_ASSERT(offsetof(struct foretrace_thread, limit) == 32, "the library knows threads of this layout");

#define FORETRACE_COLD(x) __builtin_expect(!!(x), 0)
#define FORETRACE_FENCE() __asm__ volatile("" ::: "memory")

/* Whether to record, and the event type's number. */
static inline bool foretrace_ready(struct foretrace_site *site, uint32_t *number)
{
    *number = __atomic_load_n(&site->word, __ATOMIC_RELAXED);
    if (*number != 0 && FORETRACE_COLD(*number == FORETRACE_NEW))
        *number = foretrace_register(site) ? __atomic_load_n(&site->word, __ATOMIC_RELAXED) : 0;
    return *number != 0;
}

#ifdef __x86_64__
/* Where the recorder's state of a thread is, and the mark of this process: FORETRACE_IDLE, or 0 while it has no ring, such
 * as in a forked child that has not recorded yet. */
struct foretrace_whereabouts {
    struct foretrace_thread *thread;
    const uint64_t *process;
};

/* Asked for in assembly, which finds the library's own variables by the tables of the linker: a compiler could have the
 * program hold copies. Asked again for each event: a coroutine may go on in another thread. */
static inline struct foretrace_whereabouts foretrace_ask(void)
{
    struct foretrace_whereabouts here;

    __asm__ volatile("movq foretrace_this_thread@GOTTPOFF(%%rip), %0\n\taddq %%fs:0, %0" : "=r"(here.thread));
    __asm__("movq foretrace_this_process@GOTPCREL(%%rip), %0" : "=r"(here.process));
    return here;
}

#if defined(__PIC__) && !defined(__PIE__)
static inline struct foretrace_whereabouts foretrace_here(void)
{
    return foretrace_ask();
}

static inline void foretrace_remember(void)
{
}
#else
/* A program's own code reaches a thread's variables without those tables, whose page is seldom in the processor's caches:
 * the answers are kept there. A thread that has not asked yet is nobody, who never records the fast way. */
static struct foretrace_thread foretrace_nobody = {2, 0, 0, NULL, 0};
static __thread struct foretrace_whereabouts foretrace_known = {&foretrace_nobody, &foretrace_nobody.commit};

static inline struct foretrace_whereabouts foretrace_here(void)
{
    const volatile struct foretrace_whereabouts *const known = &foretrace_known;
    struct foretrace_whereabouts here;

    here.thread = known->thread;
    here.process = known->process;
    return here;
}

static inline void foretrace_remember(void)
{
    foretrace_known = foretrace_ask();
}
#endif
#endif

#ifdef __x86_64__
static inline uint64_t foretrace_ticks(void)
{
    uint64_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return high << 32 | low;
}

/* The time of an event for which its thread's packet has room. A time is used again only for the event right behind the
 * one that it was read for; the packet's memory may have been another packet's, long ago, that was as full. */
static inline uint64_t foretrace_time(struct ft_clock *clock, const struct foretrace_thread *thread)
{
    bool again =
        thread->base == clock->base && thread->commit == clock->commit &&
        __atomic_load_n((const uint64_t *)(const void *)(thread->base + 32), __ATOMIC_RELAXED) <= clock->last;

    if (clock->way == FORETRACE_COARSE) {
        const uint64_t tick = foretrace_tick();
        again = again && tick == clock->tick;
        clock->tick = tick;
    }
    if (clock->way == FORETRACE_AT) {
        if (!again)
            return foretrace_in_order(clock->time);
        return clock->time > clock->last ? clock->time : clock->last;
    }
    return again ? clock->last : foretrace_ticks();
}
#endif

/* Where the fields of an event of `size` bytes go, or NULL. `clock`: NULL, or where its time comes from. */
__attribute__((always_inline)) static inline unsigned char *foretrace_begin(struct foretrace_writing *writing,
                                                                            struct foretrace_slowly *slowly,
                                                                            struct foretrace_site *site,
                                                                            uint32_t number, uint64_t size,
                                                                            struct ft_clock *clock)
{
    uint64_t frame;

    writing->size = size;
    writing->thread = NULL;
#ifdef __x86_64__
    const struct foretrace_whereabouts here = foretrace_here();
    struct foretrace_thread *const thread = here.thread;

    if (!FORETRACE_COLD(thread->frame != __atomic_load_n(here.process, __ATOMIC_RELAXED))) {
        uint64_t low = 0, high = 0, commit, offset;
        /* From here to the end a signal handler that records does so on a level of its own. */
        __asm__ volatile("movq %%rsp, %0" : "=m"(thread->frame) : : "memory");
        commit = thread->commit;
        offset = (uint32_t)commit >> 3;
        if (clock == NULL) {
            /* The processor reads its clock only when all loads before that are done, but waits for no prefetch. */
            __builtin_prefetch(thread->base + offset);
            __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
        } else if ((int64_t)(offset + size) <= thread->limit) {
            writing->time = foretrace_time(clock, thread);
            low = writing->time;
            high = writing->time >> 32;
        }
        if (!FORETRACE_COLD((int64_t)(offset + size) > thread->limit || (uint32_t)high != thread->epoch)) {
            const uint32_t lower = (uint32_t)low;
            const uint16_t id = (uint16_t)number, upper = (uint16_t)high;
            unsigned char *const at = thread->base + offset;
            writing->thread = thread;
            writing->base = thread->base;
            writing->commit = commit;
            memcpy(at, &id, sizeof id);
            memcpy(at + 2, &lower, sizeof lower);
            memcpy(at + 6, &upper, sizeof upper);
            return at + 8;
        }
        thread->frame = FORETRACE_IDLE;
    }
    foretrace_remember();
    __asm__ volatile("movq %%rsp, %0" : "=r"(frame));
#else
    (void)number;
    frame = (uint64_t)__builtin_frame_address(0);
#endif
    if (clock != NULL && clock->way == FORETRACE_AT)
        return foretrace_place_at(slowly, site, size, frame, clock->time);
    return foretrace_place(slowly, site, size, frame);
}

static inline void foretrace_end(struct foretrace_writing *writing, struct foretrace_slowly *slowly,
                                 struct ft_clock *clock)
{
    struct foretrace_thread *thread = writing->thread;
    if (FORETRACE_COLD(thread == NULL)) {
        foretrace_commit(slowly);
        return;
    }
    {
        const uint64_t commit = writing->commit + ((uint64_t)1 << 32);
        uint64_t *const shared = (uint64_t *)(void *)(writing->base + 48);
        __atomic_store_n(shared, commit + writing->size * 8, __ATOMIC_RELEASE);
        thread->commit = commit + ((writing->size + 7) & ~(uint64_t)7) * 8;
    }
    if (clock != NULL) {
        clock->base = writing->base;
        clock->commit = thread->commit;
        clock->last = writing->time;
    }
    FORETRACE_FENCE();
    thread->frame = FORETRACE_IDLE;
}

static inline struct ft_clock ft_batch(void)
{
    struct ft_clock clock = {0, 0, 0, 0, NULL, FORETRACE_BATCH};
    return clock;
}

static inline struct ft_clock ft_coarse(void)
{
    struct ft_clock clock = {0, 0, 0, 0, NULL, FORETRACE_COARSE};
    return clock;
}

static inline struct ft_clock ft_at(struct ft_time time)
{
    struct ft_clock clock = {time.ticks, 0, 0, 0, NULL, FORETRACE_AT};
    return clock;
}

static inline void ft_set_time(struct ft_clock *clock, struct ft_time time)
{
    clock->time = time.ticks;
}

static inline unsigned char *foretrace_put(unsigned char *at, const void *value, size_t size)
{
    memcpy(at, value, size);
    return at + size;
}

static inline unsigned char *foretrace_put_sequence(unsigned char *at, const void *bytes, uint16_t length)
{
    at = foretrace_put(at, &length, sizeof length);
    if (length != 0)
        memcpy(at, bytes, length);
    return at + length;
}

static inline const char *foretrace_string(const char *text)
{
    return text == NULL ? "(null)" : text;
}

static inline uint16_t foretrace_length(size_t length, const char *text)
{
    return FORETRACE_COLD(length > FT_MAX_BYTES) ? foretrace_cut(text) : (uint16_t)length;
}

/* A span that has begun. */
struct foretrace_span {
    struct foretrace_site *ends;
    uint64_t number;
};

static const struct foretrace_field foretrace_span_field = {"span", 3, FT_PUBLIC};

static inline struct foretrace_span foretrace_span_begin(struct foretrace_site *ends)
{
    struct foretrace_span span;
    span.ends = ends;
    span.number = __atomic_load_n(&ends->word, __ATOMIC_RELAXED) == 0 ? 0 : foretrace_next_span();
    return span;
}

static inline void foretrace_span_end(struct foretrace_span *span)
{
    uint32_t number;

    if (foretrace_ready(span->ends, &number)) {
        struct foretrace_writing writing;
        struct foretrace_slowly slowly;
        unsigned char *at = foretrace_begin(&writing, &slowly, span->ends, number, 16, NULL);
        if (at != NULL) {
            foretrace_put(at, &span->number, sizeof span->number);
            foretrace_end(&writing, &slowly, NULL);
        }
    }
}

#define FORETRACE_EVENT_NONE(clock, level, name)                                                                     \
    do {                                                                                                             \
        static struct foretrace_site foretrace_this_site = FORETRACE_SITE(FORETRACE_EVENT, level, name, NULL, 0);    \
        uint32_t foretrace_number;                                                                                   \
        if (foretrace_ready(&foretrace_this_site, &foretrace_number)) {                                              \
            struct foretrace_writing foretrace_writing;                                                              \
            struct foretrace_slowly foretrace_slowly;                                                                \
            struct ft_clock *const foretrace_clock = (clock);                                                        \
            if (foretrace_begin(&foretrace_writing, &foretrace_slowly, &foretrace_this_site, foretrace_number, 8,    \
                                foretrace_clock) != NULL)                                                            \
                foretrace_end(&foretrace_writing, &foretrace_slowly, foretrace_clock);                               \
        }                                                                                                            \
    } while (0)

#define FORETRACE_EVENT_SOME(clock, ...) FORETRACE_RECORD(clock, FORETRACE_EVENT, __VA_ARGS__)
#define FORETRACE_RECORD(clock, phase, level, name, ...)                                                             \
    do {                                                                                                             \
        static const struct foretrace_field foretrace_fields[] = {FORETRACE_EACH(FORETRACE_DECLARE, __VA_ARGS__)};   \
        static struct foretrace_site foretrace_this_site =                                                           \
            FORETRACE_SITE(phase, level, name, foretrace_fields, FORETRACE_COUNT(__VA_ARGS__));                      \
        uint32_t foretrace_number;                                                                                   \
        if (foretrace_ready(&foretrace_this_site, &foretrace_number)) {                                              \
            struct foretrace_writing foretrace_writing;                                                              \
            struct foretrace_slowly foretrace_slowly;                                                                \
            struct ft_clock *const foretrace_clock = (clock);                                                        \
            unsigned char *foretrace_at;                                                                             \
            FORETRACE_EACH(FORETRACE_TAKE, __VA_ARGS__)                                                              \
            foretrace_at = foretrace_begin(&foretrace_writing, &foretrace_slowly, &foretrace_this_site,              \
                                           foretrace_number, 8 FORETRACE_EACH(FORETRACE_SIZE, __VA_ARGS__),          \
                                           foretrace_clock);                                                         \
            if (foretrace_at != NULL) {                                                                              \
                FORETRACE_EACH(FORETRACE_STORE, __VA_ARGS__)                                                         \
                (void)foretrace_at;                                                                                  \
                foretrace_end(&foretrace_writing, &foretrace_slowly, foretrace_clock);                               \
            }                                                                                                        \
        }                                                                                                            \
    } while (0)

#define FORETRACE_EVENT_MANY(...) FORETRACE_ASSERT(0, "ft_event takes at most 16 fields")
#define FORETRACE_EVENT_NAMELESS(...) FORETRACE_ASSERT(0, "ft_event takes a level, a name, and fields")

#define FORETRACE_SPAN_SOME(line, level, ...)                                                                        \
    static struct foretrace_site FORETRACE_JOIN(foretrace_ends_, line) =                                             \
        FORETRACE_SITE(FORETRACE_ENDS, level, FORETRACE_FIRST(__VA_ARGS__, 0), &foretrace_span_field, 1);            \
    __attribute__((cleanup(foretrace_span_end))) struct foretrace_span FORETRACE_JOIN(foretrace_span_, line) =       \
        foretrace_span_begin(&FORETRACE_JOIN(foretrace_ends_, line));                                                \
    FORETRACE_RECORD(NULL, FORETRACE_BEGINS, level, __VA_ARGS__,                                                           \
                     ft_u64("span", FORETRACE_JOIN(foretrace_span_, line).number))
#define FORETRACE_FIRST(first, ...) first
#define FORETRACE_SPAN_MANY(...) FORETRACE_ASSERT(0, "FT_SPAN takes at most 15 fields")
#define FORETRACE_SPAN_NONE(...) FORETRACE_ASSERT(0, "FT_SPAN takes a level, a name, and fields")
#define FORETRACE_SPAN_NAMELESS(...) FORETRACE_SPAN_NONE()

#define FORETRACE_SITE(phase, level, name, fields, count)                                                            \
    {                                                                                                                \
        FORETRACE_NEW, FORETRACE_ABI, (uint8_t)(level), (uint8_t)(count), phase, (uint32_t)__LINE__, __FILE__,       \
            "" FT_PROVIDER, "" name, fields                                                                          \
    }

#endif
