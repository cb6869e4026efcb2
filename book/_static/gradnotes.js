// A list of citations is written with a role that is no longer valid, and so it has no items.
document.querySelectorAll(".citation-list > .citation").forEach((entry) => {
  entry.setAttribute("role", "listitem");
});

// On paper nothing can be unfolded, and a dark page would waste ink.
{
  const root = document.documentElement;
  let theme = "";
  let folded = [];

  addEventListener("beforeprint", () => {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((details) => (details.open = true));
  });

  addEventListener("afterprint", () => {
    root.dataset.theme = theme;
    folded.forEach((details) => (details.open = false));
  });
}
