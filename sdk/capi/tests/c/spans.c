/* Spans in a block, in a loop, left by a return. */
#define FT_PROVIDER "test::spans"
#include <foretrace.h>

#include <stdio.h>

static int found(int wanted)
{
    FT_SPAN(FT_INFO, "find", ft_i32("wanted", wanted));
    for (int i = 0; i < 3; i++) {
        FT_SPAN(FT_DEBUG, "look");
        if (i == wanted)
            return 1;
    }
    return 0;
}

int main(void)
{
    int sum = found(1) + found(9);

    printf("%d\n", sum);
    fflush(stdout);
    getchar();
    return 0;
}
