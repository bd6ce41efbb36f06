"""Would the tests notice a wrong line? Small changes to the numeric core, generated, and what the tests say of them."""
