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

// The ledger: choose which claims are shown. Without this script all of them are.
{
  const claims = [...document.querySelectorAll(".claim")];
  const kinds = { origin: "Said by", verdict: "Verdict", evidence: "Evidence" };
  const origin = (claim) => claim.closest("section").querySelector("h2").firstChild.textContent;
  const values = {
    origin: (claim) => [origin(claim)],
    verdict: (claim) => marked(claim, "verdict-"),
    evidence: (claim) => marked(claim, "evidence-"),
  };

  function marked(claim, start) {
    const found = [...claim.classList].filter((name) => name.startsWith(start));
    return found.map((name) => name.slice(start.length));
  }

  function choice(kind, form) {
    const label = form.appendChild(document.createElement("label"));
    const select = document.createElement("select");
    label.append(`${kinds[kind]} `, select);
    select.name = kind;
    select.add(new Option("any", ""));
    const all = new Set(claims.flatMap(values[kind]));
    all.forEach((value) => select.add(new Option(value, value)));
  }

  function filter(form, count) {
    const wanted = Object.keys(kinds).map((kind) => [kind, form.elements[kind].value]);
    claims.forEach((claim) => {
      const fits = ([kind, value]) => !value || values[kind](claim).includes(value);
      claim.hidden = !wanted.every(fits);
    });
    // A section of which nothing is left goes too, with its heading.
    new Set(claims.map((claim) => claim.closest("section"))).forEach((section) => {
      section.hidden = !section.querySelector(".claim:not([hidden])");
    });
    const shown = claims.filter((claim) => !claim.hidden).length;
    count.textContent = `${shown} of ${claims.length} claims shown`;
  }

  if (claims.length) {
    const form = document.createElement("form");
    const count = document.createElement("output");
    form.className = "claim-filter";
    form.setAttribute("aria-label", "Filter the claims");
    Object.keys(kinds).forEach((kind) => choice(kind, form));
    form.append(count);
    form.addEventListener("change", () => filter(form, count));
    form.addEventListener("submit", (event) => event.preventDefault());
    claims[0].closest("section").before(form);
    filter(form, count);
    // A link to a claim that is filtered out shows all of them again.
    addEventListener("hashchange", () => {
      if (document.querySelector(":target")?.hidden) {
        form.reset();
        filter(form, count);
        document.querySelector(":target").scrollIntoView();
      }
    });
  }
}
