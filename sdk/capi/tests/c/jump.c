/* A handler that records and then leaves by siglongjmp, out of recordings among other things; on the stack that it
 * interrupted, or with the argument "apart" on one of its own. */
#define _GNU_SOURCE
#define FT_PROVIDER "test::jump"
#include <foretrace.h>

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

enum { JUMPS = 3000 };

static sigjmp_buf back;
static volatile uint64_t noted, jumps;
static volatile sig_atomic_t armed;
static char apart[1 << 16];

static void leave(int number)
{
    if (!armed)
        return;
    armed = 0;
    ft_event(FT_WARN, "jump", ft_u64("number", jumps), ft_i32("signal", number));
    siglongjmp(back, 1);
}

int main(int count, char **arguments)
{
    const struct itimerval often = {{0, 70}, {0, 70}}, never = {{0, 0}, {0, 0}};
    const stack_t stack = {apart, 0, sizeof apart};
    struct sigaction action;

    (void)arguments;
    memset(&action, 0, sizeof action);
    action.sa_handler = leave;
    action.sa_flags = count > 1 ? SA_ONSTACK : 0;
    if ((count > 1 && sigaltstack(&stack, NULL)) || sigaction(SIGALRM, &action, NULL))
        return 1;
    setitimer(ITIMER_REAL, &often, NULL);
    if (sigsetjmp(back, 1))
        jumps = jumps + 1;
    while (jumps < JUMPS) {
        armed = 1;
        ft_event(FT_INFO, "step", ft_u64("n", noted), ft_str("text", "as long as it takes"), ft_u64("check", ~noted));
        noted = noted + 1;
    }
    armed = 0;
    setitimer(ITIMER_REAL, &never, NULL);
    ft_event(FT_INFO, "last", ft_u64("n", noted));
    printf("%llu\n", (unsigned long long)noted);
    fflush(stdout);
    getchar();
    return 0;
}
