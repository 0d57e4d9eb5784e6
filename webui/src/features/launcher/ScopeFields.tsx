import { Select } from '@mantine/core'
import { useTranslation } from 'react-i18next'
import { setScope, useScope } from '../../shared/scope'
import { useScopeChoices } from '../../shared/scopeChoices'

/** Which project the session counts for, and which nodes may run it. */
export function ScopeFields() {
  const { t } = useTranslation()
  const { groupId, resourceGroupId } = useScope()
  const { groups, resourceGroups } = useScopeChoices()
  return (
    <>
      <Select
        label={t('app.project')}
        data={groups.map((group) => ({ value: group.id, label: group.name }))}
        value={groupId}
        onChange={(id) => setScope({ groupId: id })}
        allowDeselect={false}
      />
      <Select
        label={t('app.resourceGroup')}
        data={resourceGroups.map((group) => ({ value: group.id, label: group.name }))}
        value={resourceGroupId}
        onChange={(id) => setScope({ resourceGroupId: id })}
        allowDeselect={false}
      />
    </>
  )
}
