import { Select, type SelectProps } from '@mantine/core'
import { IconServer, IconUsers } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import { setScope, useScope } from '../shared/scope'
import { useScopeChoices } from '../shared/scopeChoices'

/** Which project pays and which nodes are asked, for all that is started from now on. */
export function ScopeSelectors() {
  const { t } = useTranslation()
  const scope = useScope()
  const { groups, resourceGroups } = useScopeChoices()
  const common: Partial<SelectProps> = { size: 'xs', w: 172, allowDeselect: false, leftSectionWidth: 30 }
  return (
    <>
      <Select
        {...common}
        aria-label={t('app.project')}
        title={t('app.project')}
        leftSection={<IconUsers size={15} aria-hidden />}
        data={groups.map((group) => ({ value: group.id, label: group.name }))}
        value={scope.groupId}
        onChange={(groupId) => setScope({ groupId })}
      />
      <Select
        {...common}
        aria-label={t('app.resourceGroup')}
        title={t('app.resourceGroup')}
        leftSection={<IconServer size={15} aria-hidden />}
        data={resourceGroups.map((group) => ({ value: group.id, label: group.name }))}
        value={scope.resourceGroupId}
        onChange={(resourceGroupId) => setScope({ resourceGroupId })}
      />
    </>
  )
}
