/* What recording looks like from C++:
 *
 *     c++ -std=c++17 hello.cpp $(pkg-config --cflags --libs foretrace) -o hello && ./hello world
 */
#define FT_PROVIDER "example::hello"
#include <foretrace.hpp>

#include <iostream>
#include <stdexcept>

namespace {

enum class mood : std::uint8_t { glad = 1, sad = 2 };

void greet(const std::string &whom)
{
    FT_SPAN(FT_DEBUG, "greet", ft_field("whom", whom, FT_PERSONAL));

    if (whom.empty())
        throw std::invalid_argument("nobody");
    ft_event(FT_INFO, "greeting", ft_field("letters", whom.size()), ft_field("first", whom.substr(0, 1)),
             ft_field("mood", mood::glad));
    std::cout << "hello, " << whom << std::endl;
}

} // namespace

int main(int count, char **arguments)
{
    const auto started = std::chrono::steady_clock::now();

    foretrace::annotate("mode", count > 1 ? "named" : "anonymous");
    for (int i = 1; i < count; i++) {
        try {
            greet(arguments[i]);
        } catch (const std::exception &problem) {
            ft_event(FT_WARN, "not greeted", ft_field("why", problem.what()), ft_field("number", i));
        }
    }
    struct ft_clock clock = ft_at(foretrace::time_of(started)); // Told late: recorded behind what came before it.
    ft_event_with(&clock, FT_DEBUG, "started");
    ft_event(FT_INFO, "done", ft_field("ratio", 0.5f), ft_field("sure", true), ft_secret("password"),
             ft_field("raw", (foretrace::bytes{&count, sizeof count})));
    std::cin.get(); // Until its input ends: `foretrace snapshot` can look at the trail meanwhile.
}
