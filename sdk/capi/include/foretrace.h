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
 * This file is for you; foretrace-inside.h is how events get into the ring.
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
#define ft_event(...) FORETRACE_JOIN(FORETRACE_EVENT_, FORETRACE_FIELDS(__VA_ARGS__))(NULL, __VA_ARGS__)

/* Records an event whose time comes from elsewhere: ft_event_with(CLOCK, LEVEL, NAME, FIELDS...), where CLOCK is a
 * pointer to a struct ft_clock, which one thread uses. Otherwise as ft_event.
 *
 * Reading the processor's clock is most of what an event costs. ft_batch() makes a clock for events that belong together
 * so closely that the time of the first is good enough for all; ft_coarse() one that is behind by at most a tick of the
 * kernel, 1 to 10 ms as clock_getres(CLOCK_MONOTONIC_COARSE) says. Both are read anew where the thread recorded
 * anything else meanwhile. With ft_at(TIME) events have the time that the caller gives, until ft_set_time gives another.
 * The events of a thread stay in order: a time earlier than that of its last event (or than the packet's beginning) is
 * recorded as that one, one in the future as the present.
 *
 *     struct ft_clock batch = ft_batch();
 *     ft_event_with(&batch, FT_INFO, "rows", ft_u64("count", rows));
 *     ft_event_with(&batch, FT_INFO, "bytes", ft_u64("count", bytes));
 *
 * Signal safety: may be used in signal handlers, with a clock of the handler's own. */
#define ft_event_with(clock, ...)                                                                                    \
    FORETRACE_JOIN(FORETRACE_EVENT_, FORETRACE_FIELDS(__VA_ARGS__))(clock, __VA_ARGS__)

/* A moment, in ticks of the ring's own clock. */
struct ft_time {
    uint64_t ticks;
};

/* Where ft_event_with gets times from. Make one with ft_batch, ft_coarse or ft_at; what is in it is not for use. */
struct ft_clock {
    uint64_t time, last, tick, commit;
    unsigned char *base;
    int way;
};

/* Clocks for ft_event_with, which says what times they give. They take nothing that has to be given back.
 *
 * Signal safety: may be used in signal handlers. */
static inline struct ft_clock ft_batch(void);
static inline struct ft_clock ft_coarse(void);
static inline struct ft_clock ft_at(struct ft_time time);
/* From now on the events of a clock that ft_at made have this time.
 *
 * Signal safety: may be used in a signal handler, on a clock of its own. */
static inline void ft_set_time(struct ft_clock *clock, struct ft_time time);

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
 * Every thread that records holds at least 1 KiB of the pool until it ends: 4 MiB have room for some 2,800 threads that
 * live at the same time. What more of them record is discarded and counted.
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

/* The present: what an event would record now. As dear as an event; makes the ring if there is none.
 *
 * Signal safety: may be used in signal handlers. */
struct ft_time ft_now(void);

/* A moment in NANOSECONDS of CLOCK_MONOTONIC; the present, if it is later than that or recording is off.
 *
 * Signal safety: may be used in signal handlers. */
struct ft_time ft_time_from_monotonic(uint64_t nanoseconds);

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

#ifdef __cplusplus
}
#endif

#include "foretrace-inside.h"

#endif
