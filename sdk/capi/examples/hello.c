/* What recording looks like from C:
 *
 *     cc hello.c $(pkg-config --cflags --libs foretrace) -o hello && ./hello world
 */
#define FT_PROVIDER "example::hello"
#include <foretrace.h>

#include <stdio.h>

static unsigned long greet(const char *whom)
{
    unsigned long letters = strlen(whom);

    ft_event(FT_INFO, "greeting", ft_str("whom", whom, FT_PERSONAL), ft_u64("letters", letters));
    printf("hello, %s\n", whom);
    return letters;
}

int main(int count, char **arguments)
{
    unsigned long letters = 0;

    ft_annotate("mode", count > 1 ? "named" : "anonymous", FT_PUBLIC);
    ft_event(FT_DEBUG, "started");
    for (int i = 1; i < count; i++)
        letters += greet(arguments[i]);
    if (letters == 0)
        ft_event(FT_WARN, "nobody to greet", ft_bool("sad", true), ft_secret("password"));
    ft_event(FT_INFO, "done", ft_i32("greeted", count - 1), ft_f64("letters each", (double)letters / count),
             ft_bytes("raw count", &count, sizeof count));
    fflush(stdout);
    getchar(); /* Until its input ends: `foretrace snapshot` can look at the trail meanwhile. */
    return 0;
}
