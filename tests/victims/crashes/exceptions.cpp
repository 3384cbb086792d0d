// C++'s ways to die, by the first argument.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

int *volatile nowhere;
volatile int zero;

namespace shop {

template <typename Price> struct Order {
    virtual ~Order() = default;
    virtual Price total(std::vector<Price> const &items) const {
        if (items.empty()) throw std::runtime_error("nothing ordered");
        return items[0];
    }
};

struct Careless {
    ~Careless() { zero = *nowhere; }
};

struct Base {
    Base() { prepare(); }
    virtual ~Base() = default;
    __attribute__((noinline)) void prepare() { step(); }
    virtual void step() = 0;
};

struct Derived : Base {
    void step() override { zero = 1; }
};

__attribute__((noinline)) int bill(std::vector<int> const &items) { return Order<int>().total(items); }

__attribute__((noinline)) int unwind(std::vector<int> const &items) {
    Careless careless;
    return bill(items);
}

__attribute__((noinline)) int promise(std::vector<int> const &items) noexcept { return bill(items) + zero; }

__attribute__((noinline)) int through_function(std::function<int(int)> const &call) { return call(1) + zero; }

__attribute__((noinline)) int sorted(std::vector<std::string> names) {
    std::sort(names.begin(), names.end(), [](std::string const &a, std::string const &b) {
        return a.size() + static_cast<std::size_t>(*nowhere) < b.size();
    });
    return static_cast<int>(names.size());
}

}  // namespace shop

int main(int count, char **words) {
    std::string way = count > 1 ? words[1] : "throw";
    if (way == "throw") return shop::bill({});
    if (way == "destructor") try { return shop::unwind({}); } catch (std::exception const &) { return 1; }
    if (way == "noexcept") return shop::promise({});
    if (way == "pure") return shop::Derived(), 0;
    if (way == "virtual") {
        shop::Order<int> *volatile order = nullptr;
        return order->total({1});
    }
    if (way == "at") return std::vector<int>(3).at(static_cast<std::size_t>(count) + 10);
    if (way == "function") return shop::through_function([](int x) { return *nowhere + x; });
    if (way == "sort") return shop::sorted({"b", "a", "dd", "c"});
    if (way == "thread") {
        std::thread thread([] { zero = shop::bill({}); });
        thread.join();
    }
    return 2;
}
