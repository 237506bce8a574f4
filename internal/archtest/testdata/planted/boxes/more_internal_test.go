package boxes_test // want "a test is of package boxes_test"
