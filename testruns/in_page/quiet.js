// Resolves to true when the page's content has not changed for `still` milliseconds, to false after `limit`.
({ still, limit }) =>
  new Promise((resolve) => {
    let timer;
    const end = (quiet) => {
      observer.disconnect();
      clearTimeout(timer);
      clearTimeout(last);
      resolve(quiet);
    };
    const again = () => {
      clearTimeout(timer);
      timer = setTimeout(end, still, true);
    };
    const observer = new MutationObserver(again);
    observer.observe(document, {
      subtree: true,
      childList: true,
      characterData: true,
      attributes: true,
      // Not class and style: what blinks or slides would never be quiet.
      attributeFilter: ["hidden", "disabled", "aria-busy", "aria-hidden", "href", "open"],
    });
    const last = setTimeout(end, limit, false);
    again();
  })
