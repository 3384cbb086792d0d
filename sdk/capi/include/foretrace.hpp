/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * foretrace for C++17: everything of foretrace.h, and one field for every type.
 *
 *     #define FT_PROVIDER "shop::checkout"
 *     #include <foretrace.hpp>
 *
 *     FT_SPAN(FT_INFO, "order", ft_field("customer", name, FT_PERSONAL));
 *     ft_event(FT_INFO, "placed", ft_field("items", cart.size()), ft_field("total", 12.5));
 *
 * Nothing here throws or allocates, annotate aside. What is between the lines "Inside" and the end is not for use.
 */
#ifndef FORETRACE_HPP
#define FORETRACE_HPP

#include "foretrace.h"

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

/* A field of the kind that its value's type has: ft_field(NAME, VALUE [, CLASS]).
 *
 *     bool, integers, enumerations, floating point     as they are; long double as double
 *     const char *, std::string, std::string_view      UTF-8 text; NULL is "(null)"
 *     foretrace::bytes, std::vector of bytes           bytes
 *
 * CLASS is FT_PUBLIC or FT_PERSONAL; what is secret is said with ft_secret(NAME), which takes no value. The value is
 * evaluated once, and not at all while recording is off.
 *
 * Signal safety: may be used in signal handlers, if the value may. */
#define FORETRACE_APART_ft_field(...)                                                                                \
    ANY, FORETRACE_KIND(__VA_ARGS__, 0), void, FORETRACE_VALUE(__VA_ARGS__, FT_PUBLIC, 0)

namespace foretrace {

/* Any memory, with its size in bytes. */
struct bytes {
    const void *start;
    std::size_t size;
};

/* Starts recording now and not at the first event. False where there can be no ring.
 *
 * Signal safety: may be used in a signal handler. */
inline bool start() noexcept
{
    return ft_start() == 0;
}

/* The same with a pool of so many bytes, as ft_start_with.
 *
 * Signal safety: may be used in a signal handler. */
inline bool start_with(std::uint64_t pool) noexcept
{
    return ft_start_with(pool) == 0;
}

/* Whether events are recorded at this moment.
 *
 * Signal safety: may be used in signal handlers. */
inline bool enabled() noexcept
{
    return ft_enabled();
}

/* A moment of the steady clock, for ft_at and ft_set_time; the present, if it is later than that or recording is off.
 *
 *     struct ft_clock clock = ft_at(foretrace::time_of(arrived));
 *     ft_event_with(&clock, FT_INFO, "arrived", ft_field("bytes", bytes));
 *
 * Signal safety: may be used in signal handlers. */
inline ft_time time_of(std::chrono::steady_clock::time_point moment) noexcept
{
    const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(moment.time_since_epoch());
    return ft_time_from_monotonic(static_cast<std::uint64_t>(since.count()));
}

/* As ft_annotate: notes something that every later report carries.
 *
 * Signal safety: none for std::string, which may allocate; otherwise as ft_annotate. */
inline void annotate(const char *key, const char *value, ft_class privacy = FT_PUBLIC) noexcept
{
    ft_annotate(key, value, privacy);
}

inline void annotate(const std::string &key, const std::string &value, ft_class privacy = FT_PUBLIC) noexcept
{
    ft_annotate(key.c_str(), value.c_str(), privacy);
}

/* Has a value's bytes, not what it points to, added to every report that is made while this lives; NAME has to live as
 * long. Otherwise as ft_attach_memory.
 *
 * Signal safety: may be used in signal handlers. */
class attachment {
public:
    template <class T> attachment(const char *name, const T &value, ft_attachment class_of_data) noexcept
        : name_(ft_attach_memory(name, &value, sizeof value, class_of_data) == 0 ? name : nullptr)
    {
    }

    ~attachment()
    {
        if (name_)
            ft_detach(name_);
    }

    attachment(const attachment &) = delete;
    attachment &operator=(const attachment &) = delete;

    /* Whether there was room for it. */
    bool is_attached() const noexcept
    {
        return name_ != nullptr;
    }

private:
    const char *name_;
};

/* ---- Inside ----------------------------------------------------------------------------------------------------- */
namespace inside {

template <class T> struct number {
    T value;

    std::uint64_t size() const noexcept
    {
        return sizeof(T);
    }

    unsigned char *put(unsigned char *at) const noexcept
    {
        return foretrace_put(at, &value, sizeof(T));
    }
};

struct sequence {
    const void *start;
    std::uint16_t length;

    std::uint64_t size() const noexcept
    {
        return std::uint64_t{2} + length;
    }

    unsigned char *put(unsigned char *at) const noexcept
    {
        return foretrace_put_sequence(at, start, length);
    }
};

/* What a type is in an event: its kind's number in the ring, and how a value is taken. */
template <class T, class = void> struct field {
    static_assert(sizeof(T) == 0, "a field is a number, a text or bytes");
};

template <class T> struct field<T, std::enable_if_t<std::is_integral_v<T>>> {
    static_assert(sizeof(T) <= 8, "a field has at most 64 bits");
    static constexpr std::uint8_t width = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    static constexpr std::uint8_t kind =
        std::is_same_v<T, bool> ? 10 : static_cast<std::uint8_t>(width + (std::is_signed_v<T> ? 4 : 0));

    static number<T> take(T value) noexcept
    {
        return {value};
    }
};

template <class T> struct field<T, std::enable_if_t<std::is_enum_v<T>>> {
    using plain = std::underlying_type_t<T>;
    static constexpr std::uint8_t kind = field<plain>::kind;

    static number<plain> take(T value) noexcept
    {
        return {static_cast<plain>(value)};
    }
};

template <class T> struct field<T, std::enable_if_t<std::is_floating_point_v<T>>> {
    using plain = std::conditional_t<std::is_same_v<T, float>, float, double>;
    static constexpr std::uint8_t kind = std::is_same_v<T, float> ? 8 : 9;

    static number<plain> take(T value) noexcept
    {
        return {static_cast<plain>(value)};
    }
};

struct text {
    static constexpr std::uint8_t kind = 11;

    static sequence take(const char *value) noexcept
    {
        return take(std::string_view(foretrace_string(value)));
    }

    static sequence take(std::string_view value) noexcept
    {
        return {value.data(), foretrace_length(value.size(), value.data())};
    }
};

template <> struct field<const char *> : text {};
template <> struct field<char *> : text {};
template <> struct field<std::string> : text {};
template <> struct field<std::string_view> : text {};

template <> struct field<bytes> {
    static constexpr std::uint8_t kind = 12;

    static sequence take(bytes value) noexcept
    {
        return {value.start, foretrace_length(value.size, nullptr)};
    }
};

template <class T>
struct field<std::vector<T>, std::enable_if_t<std::is_same_v<T, std::uint8_t> || std::is_same_v<T, std::byte>>> {
    static constexpr std::uint8_t kind = 12;

    static sequence take(const std::vector<T> &value) noexcept
    {
        return field<bytes>::take({value.data(), value.size()});
    }
};

template <class T> using field_of = field<std::decay_t<T>>;

} // namespace inside
} // namespace foretrace

#define FORETRACE_KIND(name, value, ...) ::foretrace::inside::field_of<decltype(value)>::kind

/* The reference keeps a value alive that is made on the spot. */
#define FORETRACE_TAKE_ANY(n, type, value, secret, length)                                                           \
    static_assert(!(secret), "say ft_secret(name): a secret's value is not taken");                                  \
    const auto &foretrace_taken_##n = (value);                                                                       \
    const auto foretrace_value_##n =                                                                                 \
        ::foretrace::inside::field_of<decltype(foretrace_taken_##n)>::take(foretrace_taken_##n);
#define FORETRACE_SIZE_ANY(n) foretrace_value_##n.size()
#define FORETRACE_STORE_ANY(n) foretrace_value_##n.put(foretrace_at)

#endif
