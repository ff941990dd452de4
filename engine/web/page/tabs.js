// Tabs, of which one panel is shown at a time: https://www.w3.org/WAI/ARIA/apg/patterns/tabs/

// `left`: called before another panel is shown.
export function setUpTabs(left) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const show = (chosen) => {
    for (const tab of tabs) {
      tab.ariaSelected = String(tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
  };
  tabs.forEach((tab, index) => {
    tab.onclick = () => {
      left();
      show(tab);
    };
    tab.onkeydown = ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = tabs[(index + step + tabs.length) % tabs.length];
      next.focus();
      next.click();
    };
  });
  show(tabs[0]);
}
