/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * foretrace: record what your program does; when it dies, the trail is in the report.
 *
 *     #define FT_PROVIDER "shop::checkout"
 *     #include <foretrace.h>
 *
 *     ft_event(FT_INFO, "order placed", ft_u64("items", cart->count), ft_str("customer", name, FT_PERSONAL));
 *
 * An event costs about as much as reading the clock. It goes into memory that outlives a crash of the process; no
 * call here writes a file, takes a lock that a signal handler could wait for, or makes the program fail. C11 and
 * C++17 (there with foretrace.hpp, which knows more types), little-endian Linux. Link with
 * `pkg-config --libs foretrace`, or statically with `pkg-config --static --libs foretrace`; a program in C then starts
 * sooner with -static-libgcc, which spares it a library.
 *
 * FORETRACE in the environment says which events are recorded; without it, all are. FORETRACE=off records none, and
 * FORETRACE=info none that is less important; FORETRACE=app::db=debug,net*=off speaks of single providers and all below
 * them. The last rule that speaks of an event decides. What is wrong with it is said on standard error when the program
 * starts, and otherwise ignored.
 *
 * The first half of this file is for you; the second half, behind "Inside", is how events get into the ring.
 */
#ifndef FORETRACE_H
#define FORETRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How important an event is. */
enum ft_level { FT_ERROR = 3, FT_WARN = 4, FT_INFO = 6, FT_DEBUG = 14, FT_TRACE = 15 };

/* Whose business a value is: FT_PUBLIC leaves the machine as it is, FT_PERSONAL as a pseudonym, FT_SECRET never
 * (it is not even recorded). Nothing leaves without the consent of the person at the machine. */
enum ft_class { FT_PUBLIC = 0, FT_PERSONAL = 1, FT_SECRET = 2 };

/* Records an event: ft_event(LEVEL, NAME, FIELDS...).
 *
 * LEVEL is one of enum ft_level, NAME a string literal, FIELDS up to 16 of these, with names that are string
 * literals and a CLASS (FT_PUBLIC where it is left out) that is a constant:
 *
 *     ft_u8 ft_u16 ft_u32 ft_u64   (NAME, VALUE [, CLASS])            unsigned integers
 *     ft_i8 ft_i16 ft_i32 ft_i64   (NAME, VALUE [, CLASS])            signed integers
 *     ft_f32 ft_f64                (NAME, VALUE [, CLASS])            floating point
 *     ft_bool                      (NAME, VALUE [, CLASS])
 *     ft_str                       (NAME, STRING [, CLASS])           UTF-8, ends at the first NUL; NULL is "(null)"
 *     ft_text ft_bytes             (NAME, POINTER, BYTES [, CLASS])   UTF-8 or any bytes, with their length in bytes
 *     ft_secret                    (NAME)                             says that there was a value; takes none
 *
 * Values are evaluated once, and not at all while recording is off. Text and bytes are cut to FT_MAX_BYTES; what was
 * cut is counted, and so is an event that does not fit a packet of the ring. There is no error to handle.
 *
 * Define FT_PROVIDER before an event to say which part of the program records; a name like "shop::checkout".
 *
 * Signal safety: may be used in signal handlers, also in one that interrupts another event. */
#define ft_event(...) FORETRACE_JOIN(FORETRACE_EVENT_, FORETRACE_FIELDS(__VA_ARGS__))(__VA_ARGS__)

/* Records that a span begins, and that it ends where the enclosing block does, however it is left (in C++ also by an
 * exception): FT_SPAN(LEVEL, NAME, FIELDS...), with up to 15 fields. The events are called NAME begin and NAME end, and
 * both have a field "span" by which they are found together within their thread.
 *
 * It declares a variable, so it stands where a declaration may stand, and once in a line.
 *
 * Signal safety: may be used in signal handlers. */
#define FT_SPAN(...) FORETRACE_JOIN(FORETRACE_SPAN_, FORETRACE_FIELDS(__VA_ARGS__, 0))(__LINE__, __VA_ARGS__)

/* The longest text or byte field, in bytes. */
#define FT_MAX_BYTES 4096

#ifndef FT_PROVIDER
#define FT_PROVIDER "c"
#endif

/* Starts recording now and not at the first event. It makes the ring (about 7 MB of address space; memory as it is
 * used). 0, or -1 where there can be no ring: recording then stays off and nothing else changes.
 *
 * Signal safety: none needed; may be used in a signal handler. */
int ft_start(void);

/* The same with a pool of POOL bytes instead of 4 MiB: from 256 KiB to 64 MiB, in steps of 16 KiB. Less where a limit of
 * the process or its cgroup is near; what FORETRACE_SIZE=64M in the environment says comes first. 0, or -1 where there
 * can be no ring, POOL is out of bounds, or there was a ring already, whose size stays: call it before the first event.
 *
 * Signal safety: none needed; may be used in a signal handler. */
int ft_start_with(uint64_t pool);

/* Gives the calling thread BYTES of the pool for itself: what it records from now on is overwritten by its own newer
 * events only, however much other threads record. For a thread whose history explains crashes and which records little.
 * In steps of 16 KiB, at least 32 KiB, until the thread ends; all threads together may have a quarter of the pool. 0, or
 * -1 where that is too much, no such stretch of the pool is free, the thread has one already, or recording is off.
 *
 * Signal safety: not for signal handlers. */
int ft_own_ring(uint64_t bytes);

/* Whether events are recorded at this moment. False before the first event or ft_start.
 *
 * Signal safety: may be used in signal handlers. */
bool ft_enabled(void);

/* Notes something about the program that every later report carries, such as its configuration or what it works on:
 * the newest value for a key counts. KEY and VALUE are UTF-8 and end at the first NUL; NULL is empty. At most 64 keys
 * of up to 128 bytes; key and value together have up to 496 bytes, and a longer value is cut. Of a secret nothing but
 * the key is noted. There is no error to handle: a note that finds no room is counted, and the report says so.
 *
 * Signal safety: may be used in signal handlers. */
void ft_annotate(const char *key, const char *value, enum ft_class privacy);

/* With what else an attachment leaves the machine: with the trail, with log lines, or with pieces of memory. */
enum ft_attachment { FT_TRAIL = 1, FT_LOGS = 2, FT_MEMORY = 3 };

/* Has memory, or the last MOST bytes of a file, added to every report as attachments/CLASS/NAME, until ft_detach(NAME).
 * Nothing is read now: what is there when a report is made goes into it, of each attachment up to 8 MiB. Memory that a
 * core would not hold is not read; a file is opened with the rights that the process then has, and only if it is a
 * regular one on a file system that cannot block. NAME has up to 64 letters, digits and "._+-", and the same name again
 * takes the first one's place; PATH has up to 320 bytes, and one that is not absolute counts from the directory that is
 * current now. 0, or -1: the name or path cannot be, there are 8 already, or recording is off. What could not be read
 * the report says.
 *
 * Signal safety: may be used in signal handlers. */
int ft_attach_memory(const char *name, const void *memory, size_t bytes, enum ft_attachment class_of_data);
int ft_attach_file(const char *name, const char *path, size_t most, enum ft_attachment class_of_data);
void ft_detach(const char *name);

/* Reports an error that the program survives, with the place in the source: records it, and starts a report of the
 * process as it is now, for which the caller does not wait; it takes at most 2 ms. MESSAGE is UTF-8 and ends at the
 * first NUL. 0, or -1 when no report was started: more than 5 in a minute, no foretrace-capture on this machine, or
 * recording is off. The error is recorded nevertheless, unless recording is off.
 *
 * Signal safety: may be used in signal handlers. */
#define ft_report_error(message) foretrace_report_error((message), __FILE__, (uint32_t)__LINE__)

/* ---- Inside ------------------------------------------------------------------------------------------------------
 *
 * Names that begin with foretrace_ or FORETRACE_ are not for use: they are the inlined half of the recorder, bound to
 * one version of the library (FORETRACE_ABI, checked when a call site is registered).
 *
 * A field such as ft_u64("items", n) is no call: its name is pasted to FORETRACE_APART_, so that one spelling gives
 * the declaration, the value, its length and the store. */

#define FORETRACE_ABI 1
/* A call site that was not yet reached; a number that no event type has. */
#define FORETRACE_NEW 0x10000u
/* What a call site's events are: events, or the two ends of a span. */
#define FORETRACE_EVENT 0
#define FORETRACE_BEGINS 1
#define FORETRACE_ENDS 2
/* The frame of a thread that records nothing now. */
#define FORETRACE_IDLE 1

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
void foretrace_commit(struct foretrace_slowly *slowly);
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
/* The recorder's state of this thread. Like the next one it is asked for in assembly, which finds the library's own
 * variable by the tables of the linker: a compiler could have the program hold a copy. */
static inline struct foretrace_thread *foretrace_here(void)
{
    struct foretrace_thread *thread;

    __asm__("movq foretrace_this_thread@GOTTPOFF(%%rip), %0\n\taddq %%fs:0, %0" : "=r"(thread));
    return thread;
}

/* FORETRACE_IDLE; 0 while this process has no ring, such as a forked child that has not recorded yet. */
static inline uint64_t foretrace_mark(void)
{
    const uint64_t *mark;

    __asm__("movq foretrace_this_process@GOTPCREL(%%rip), %0" : "=r"(mark));
    return __atomic_load_n(mark, __ATOMIC_RELAXED);
}
#endif

/* Where the fields of an event of `size` bytes go, or NULL. */
static inline unsigned char *foretrace_begin(struct foretrace_writing *writing, struct foretrace_slowly *slowly,
                                             struct foretrace_site *site, uint32_t number, uint64_t size)
{
    uint64_t frame;

    writing->size = size;
    writing->thread = NULL;
#ifdef __x86_64__
    const uint64_t mark = foretrace_mark();
    struct foretrace_thread *const thread = foretrace_here();

    if (!FORETRACE_COLD(thread->frame != mark)) {
        uint64_t low, high, commit, offset;
        /* From here to the end a signal handler that records does so on a level of its own. */
        __asm__ volatile("movq %%rsp, %0" : "=m"(thread->frame) : : "memory");
        commit = thread->commit;
        offset = (uint32_t)commit >> 3;
        __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
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
    __asm__ volatile("movq %%rsp, %0" : "=r"(frame));
#else
    (void)number;
    frame = (uint64_t)__builtin_frame_address(0);
#endif
    return foretrace_place(slowly, site, size, frame);
}

static inline void foretrace_end(struct foretrace_writing *writing, struct foretrace_slowly *slowly)
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
    FORETRACE_FENCE();
    thread->frame = FORETRACE_IDLE;
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
        unsigned char *at = foretrace_begin(&writing, &slowly, span->ends, number, 16);
        if (at != NULL) {
            foretrace_put(at, &span->number, sizeof span->number);
            foretrace_end(&writing, &slowly);
        }
    }
}

#define FORETRACE_EVENT_NONE(level, name)                                                                            \
    do {                                                                                                             \
        static struct foretrace_site foretrace_this_site = FORETRACE_SITE(FORETRACE_EVENT, level, name, NULL, 0);    \
        uint32_t foretrace_number;                                                                                   \
        if (foretrace_ready(&foretrace_this_site, &foretrace_number)) {                                              \
            struct foretrace_writing foretrace_writing;                                                              \
            struct foretrace_slowly foretrace_slowly;                                                                \
            if (foretrace_begin(&foretrace_writing, &foretrace_slowly, &foretrace_this_site, foretrace_number, 8) != \
                NULL)                                                                                                \
                foretrace_end(&foretrace_writing, &foretrace_slowly);                                                \
        }                                                                                                            \
    } while (0)

#define FORETRACE_EVENT_SOME(...) FORETRACE_RECORD(FORETRACE_EVENT, __VA_ARGS__)
#define FORETRACE_RECORD(phase, level, name, ...)                                                                    \
    do {                                                                                                             \
        static const struct foretrace_field foretrace_fields[] = {FORETRACE_EACH(FORETRACE_DECLARE, __VA_ARGS__)};   \
        static struct foretrace_site foretrace_this_site =                                                           \
            FORETRACE_SITE(phase, level, name, foretrace_fields, FORETRACE_COUNT(__VA_ARGS__));                      \
        uint32_t foretrace_number;                                                                                   \
        if (foretrace_ready(&foretrace_this_site, &foretrace_number)) {                                              \
            struct foretrace_writing foretrace_writing;                                                              \
            struct foretrace_slowly foretrace_slowly;                                                                \
            unsigned char *foretrace_at;                                                                             \
            FORETRACE_EACH(FORETRACE_TAKE, __VA_ARGS__)                                                              \
            foretrace_at = foretrace_begin(&foretrace_writing, &foretrace_slowly, &foretrace_this_site,              \
                                           foretrace_number, 8 FORETRACE_EACH(FORETRACE_SIZE, __VA_ARGS__));         \
            if (foretrace_at != NULL) {                                                                              \
                FORETRACE_EACH(FORETRACE_STORE, __VA_ARGS__)                                                         \
                (void)foretrace_at;                                                                                  \
                foretrace_end(&foretrace_writing, &foretrace_slowly);                                                \
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
    FORETRACE_RECORD(FORETRACE_BEGINS, level, __VA_ARGS__,                                                           \
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
