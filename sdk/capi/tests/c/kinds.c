/* One event with every kind of field, one with what can go wrong in each, one that is too large, and one through every
 * level. */
#define FT_PROVIDER "test::kinds"
#include <foretrace.h>

#include <stdio.h>

static int evaluated;

static uint64_t once(uint64_t value)
{
    evaluated++;
    return value;
}

int main(void)
{
    const unsigned char raw[3] = {0, 255, 7};
    const char *missing = NULL;
    static char large[FT_MAX_BYTES + 3];

    ft_event(FT_INFO, "all", ft_u8("u8", 200), ft_u16("u16", 60000), ft_u32("u32", 4000000000u),
             ft_u64("u64", UINT64_MAX), ft_i8("i8", -100), ft_i16("i16", -30000), ft_i32("i32", -2000000000),
             ft_i64("i64", INT64_MIN), ft_f32("f32", 1.5f), ft_f64("f64", -0.1), ft_bool("bool", raw[1]),
             ft_str("str", "gr\xc3\xbcn"), ft_text("text", "abcdef", 3, FT_PERSONAL),
             ft_bytes("bytes", raw, sizeof raw), ft_secret("secret"), ft_u64("last", 9));

    /* 4,095 ASCII bytes and a two-byte character on the edge. */
    memset(large, 'x', FT_MAX_BYTES + 2);
    memcpy(large + FT_MAX_BYTES - 1, "\xc3\xbc", 3);
    ft_event(FT_INFO, "odd", ft_str("missing", missing), ft_str("long", large),
             ft_bytes("long bytes", large, FT_MAX_BYTES + 1), ft_u64("secret number", once(1), FT_SECRET), ft_str("secret text", (evaluated++, large), FT_SECRET),
             ft_u64("once", once(2)), ft_bytes("none", NULL, 0));

    /* No field is too long, but together they are more than a packet. */
    ft_event(FT_INFO, "large", ft_bytes("a", large, FT_MAX_BYTES), ft_bytes("b", large, FT_MAX_BYTES),
             ft_bytes("c", large, FT_MAX_BYTES), ft_bytes("d", large, FT_MAX_BYTES));

    ft_event(FT_ERROR, "level");
    ft_event(FT_WARN, "level");
    ft_event(FT_INFO, "level");
    ft_event(FT_DEBUG, "level");
    ft_event(FT_TRACE, "level");

    printf("%d %d\n", evaluated, ft_report_error("no disk"));
    fflush(stdout);
    getchar();
    return 0;
}
